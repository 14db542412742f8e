/* embedded.h -- the files that are compiled into the command: the Lua side, the recipes, the header's text. */
#ifndef DM_EMBEDDED_H
#define DM_EMBEDDED_H

typedef struct embedded_file {
  const char *name;            /* "datamux/tensor.lua", "datamux.h"; NULL ends the list */
  const unsigned char *bytes;
  int size;
} embedded_file;

extern const embedded_file embedded_files[];

#endif
