/* main.c -- the command `datamux`: a Lua state with the engine and the Lua side inside. The only file that
** includes a Lua header.
**
**   datamux SCRIPT args     a file whose name does not end in .lua runs as a plain script (so busted runs under it)
**   datamux -e CODE | -l MODULE | -     as the standalone interpreter; an expression's values are printed
**   anything else           datamux.cli decides: recipe, prompt, options
** All but plain scripts find the library as the global `dm`: busted gives each spec modules of its own, so none may be
** loaded before it.
**
** Signals. After host.stoppable(true), around training, SIGINT, SIGTERM, SIGUSR1 and the alarm of host.stop_after are
** counted (dm_interrupted; training loops poll it and save); a second Ctrl-C ends the process with 130. An alarm that
** came earlier counts too. After host.stoppable(false) they do what they always do. In between - scripts - only SIGINT
** is counted. Where host.interactive(true) was called, Ctrl-C, also one that came since the prompt had its line, sets a
** hook that raises "interrupted" in running Lua code. Compiled traces do not look at hooks: code that a person types
** runs with the JIT off. SIGPIPE ends the process quietly. */
#include "datamux.h"
#include "embedded.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupts;
static volatile sig_atomic_t last_signal;
static volatile sig_atomic_t stoppable;
static volatile sig_atomic_t time_is_up;        /* the alarm of host.stop_after has come */
static volatile sig_atomic_t interactive;
static volatile sig_atomic_t waiting;           /* at a prompt: a signal is about the line; it is only counted */
static lua_State *state;

int32_t dm_interrupted(void) { return interrupts; }
void dm_interrupt_clear(void) { interrupts = 0; }

/* -- signals ---------------------------------------------------------------------------------------- */

static void stop_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  interrupts = 0;
  luaL_error(L, "interrupted");
}

static void on_signal(int number) {
  static const char text[] = "\nstopping after this step … Again Ctrl-C: quit without waiting.\n";
  interrupts++;
  if (number == SIGALRM) time_is_up = 1;
  if (waiting) return;
  last_signal = number;
  if (number == SIGINT && !interactive && interrupts >= 2) _exit(128 + number);
  if (interactive && interrupts >= 3) _exit(128 + number);
  if (interactive) lua_sethook(state, stop_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
  if (stoppable && number == SIGINT && write(2, text, sizeof text - 1) < 0) return;
}

static void handle(int number, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(number, &action, NULL);
}

/* -- module datamux.host ------------------------------------------------------------------------------ */

/* host.interactive(on): whether Ctrl-C raises "interrupted" in Lua code; at once where one was counted before. */
static int host_interactive(lua_State *L) {
  interactive = lua_toboolean(L, 1);
  handle(SIGINT, on_signal);
  if (!interactive) lua_sethook(L, NULL, 0, 0);
  else if (interrupts) lua_sethook(L, stop_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
  return 0;
}

/* host.stoppable(on): whether signals are counted, for a loop that polls dm_interrupted, or end the process. Counting
** begins from zero, or from an alarm that has come already. -> number of the signal counted last, 0 for none */
static int host_stoppable(lua_State *L) {
  int on = lua_toboolean(L, 1);
  if (on) {
    interrupts = last_signal = 0;
    if (time_is_up) {
      interrupts = 1;
      last_signal = SIGALRM;
    }
  }
  stoppable = on;
  handle(SIGINT, on || interactive ? on_signal : SIG_DFL);
  handle(SIGTERM, on ? on_signal : SIG_DFL);
  handle(SIGUSR1, on ? on_signal : SIG_DFL);
  lua_pushinteger(L, last_signal);
  if (!on) interrupts = last_signal = 0;
  return 1;
}

/* host.stop_after(seconds): SIGALRM then, counted as the others are. */
static int host_stop_after(lua_State *L) {
  double seconds = luaL_checknumber(L, 1);
  struct itimerval t;
  memset(&t, 0, sizeof t);
  t.it_value.tv_sec = seconds < 1 ? 1 : seconds > 1e9 ? 1000000000 : (time_t)seconds;
  handle(SIGALRM, on_signal);
  setitimer(ITIMER_REAL, &t, NULL);
  return 0;
}

/* host.waiting(on): whether a prompt is waiting for a line. Signals then only count, from zero; those that the editor
** does not take (dm_interrupt_clear) came after the line and are about what it says. */
static int host_waiting(lua_State *L) {
  waiting = lua_toboolean(L, 1);
  if (waiting) interrupts = 0;
  return 0;
}

/* host.isatty(fd) -> boolean */
static int host_isatty(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* host.columns() -> width of the terminal on stderr, 80 where it has none */
static int host_columns(lua_State *L) {
  struct winsize w;
  lua_pushinteger(L, ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80);
  return 1;
}

/* host.exe() -> path of the running command */
static int host_exe(lua_State *L) {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  lua_pushlstring(L, path, n > 0 ? (size_t)n : 0);
  return 1;
}

/* host.source(name) -> text of a file compiled in ("datamux/tensor.lua"), or nil */
static int host_source(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (const embedded_file *f = embedded_files; f->name; f++) {
    if (strcmp(f->name, name)) continue;
    lua_pushlstring(L, (const char *)f->bytes, (size_t)f->size);
    return 1;
  }
  return 0;
}

/* host.sources() -> names of the files compiled in */
static int host_sources(lua_State *L) {
  lua_newtable(L);
  int i = 0;
  for (const embedded_file *f = embedded_files; f->name; f++) {
    lua_pushstring(L, f->name);
    lua_rawseti(L, -2, ++i);
  }
  return 1;
}

static int open_host(lua_State *L) {
  static const luaL_Reg functions[] = {
    { "interactive", host_interactive }, { "waiting", host_waiting }, { "isatty", host_isatty },
    { "columns", host_columns },         { "exe", host_exe },         { "source", host_source },
    { "sources", host_sources },         { "stoppable", host_stoppable }, { "stop_after", host_stop_after },
    { NULL, NULL },
  };
  lua_newtable(L);
  for (const luaL_Reg *r = functions; r->name; r++) {
    lua_pushcfunction(L, r->func);
    lua_setfield(L, -2, r->name);
  }
  return 1;
}

static int open_header(lua_State *L) {
  lua_pushcfunction(L, host_source);
  lua_pushliteral(L, "datamux.h");
  lua_call(L, 1, 1);
  return 1;
}

/* -- modules compiled in -------------------------------------------------------------------------------- */

/* The searcher: datamux.x.y is datamux/x/y.lua or datamux/x/y/init.lua. */
static int find_embedded(lua_State *L) {
  const char *module = luaL_checkstring(L, 1);
  const char *path = luaL_gsub(L, module, ".", "/");
  for (const embedded_file *f = embedded_files; f->name; f++) {
    size_t n = strlen(path);
    if (strncmp(f->name, path, n)) continue;
    if (strcmp(f->name + n, ".lua") && strcmp(f->name + n, "/init.lua")) continue;
    const char *chunk = lua_pushfstring(L, "@%s", f->name);
    if (luaL_loadbuffer(L, (const char *)f->bytes, (size_t)f->size, chunk)) return lua_error(L);
    return 1;
  }
  lua_pushfstring(L, "\n\tno module '%s' compiled in", module);
  return 1;
}

/* package.loaders gets the searcher second, after preload; DATAMUX_LUA=dir puts a tree first instead. */
static void install_modules(lua_State *L) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, open_host);
  lua_setfield(L, -2, "datamux.host");
  lua_pushcfunction(L, open_header);
  lua_setfield(L, -2, "datamux.header");
  lua_pop(L, 1);
  const char *dir = getenv("DATAMUX_LUA");
  if (dir) {
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", dir, dir, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 1);
  }
  lua_getfield(L, -1, "loaders");
  int n = (int)lua_objlen(L, -1), at = dir ? n + 1 : 2;
  for (int i = n; i >= at; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, find_embedded);
  lua_rawseti(L, -2, at);
  lua_pop(L, 2);
}

/* -- running ---------------------------------------------------------------------------------------------- */

/* Adds a traceback to text errors when DATAMUX_DEBUG is set; tables (user errors) pass through. */
static int traceback(lua_State *L) {
  if (!getenv("DATAMUX_DEBUG") || !lua_isstring(L, 1)) return 1;
  lua_getglobal(L, "debug");
  lua_getfield(L, -1, "traceback");
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 2);
  lua_call(L, 2, 1);
  return 1;
}

/* Calls the function below `nargs` arguments; prints an error. Returns the exit code, or -1 - with `want` the
** single result is left on the stack - when all went well. */
static int call(lua_State *L, int nargs, int want) {
  int base = lua_gettop(L) - nargs;
  lua_pushcfunction(L, traceback);
  lua_insert(L, base);
  int failed = lua_pcall(L, nargs, want, base);
  lua_remove(L, base);
  if (!failed) return -1;
  int code = 1;
  if (lua_isnil(L, -1)) return code;            /* error(nil): leave with 1 and say nothing, as busted does */
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "code");
    if (lua_isnumber(L, -1)) code = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, -1, "message");
  }
  const char *text = lua_tostring(L, -1);
  fprintf(stderr, "datamux: %s\n", text ? text : "an error that is no text");
  return code;
}

/* The global dm. Its modules are loaded as they are used. Returns an exit code, or -1 when all went well. */
static int set_dm(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "datamux");
  int code = call(L, 1, 1);
  if (code < 0) lua_setglobal(L, "dm");
  return code;
}

static void set_arg(lua_State *L, int argc, char **argv, int script) {
  lua_createtable(L, argc, 2);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

static int run_chunk(lua_State *L, int failed, int argc, char **argv, int first) {
  if (failed) {
    fprintf(stderr, "datamux: %s\n", lua_tostring(L, -1));
    return 1;
  }
  luaL_checkstack(L, argc, "too many arguments");
  for (int i = first; i < argc; i++) lua_pushstring(L, argv[i]);
  int code = call(L, argc - first, 0);
  return code < 0 ? 0 : code;
}

static int run_cli(lua_State *L, int argc, char **argv) {
  set_arg(L, argc, argv, 0);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "datamux.cli");
  int code = call(L, 1, 1);
  if (code >= 0) return code;
  lua_getfield(L, -1, "main");
  lua_getglobal(L, "arg");
  code = call(L, 1, 1);
  return code >= 0 ? code : (int)lua_tointeger(L, -1);
}

static int is_plain_script(const char *name) {
  struct stat st;
  const char *dot = strrchr(name, '.');
  if (dot && !strcmp(dot, ".lua")) return 0;
  return stat(name, &st) == 0 && S_ISREG(st.st_mode);
}

/* Code of -e: statements, or an expression whose values are then printed. Leaves a function, or the statements' fault. */
static int load_code(lua_State *L, const char *code) {
  int failed = luaL_loadbuffer(L, code, strlen(code), "=-e");
  if (!failed) return 0;
  lua_pushfstring(L, "print(%s)", code);
  size_t n;
  const char *text = lua_tolstring(L, -1, &n);
  int worse = luaL_loadbuffer(L, text, n, "=-e");
  lua_remove(L, -2);
  if (worse) lua_pop(L, 1); else lua_remove(L, -2);
  return worse ? failed : 0;
}

static int dispatch(lua_State *L, int argc, char **argv) {
  int i = 1, ran = 0, code = 0;
  int missing = argc > 1 && is_plain_script(argv[1]) ? -1 : set_dm(L);
  if (missing >= 0) return missing;
  for (; i + 1 < argc && (!strcmp(argv[i], "-e") || !strcmp(argv[i], "-l")) && code == 0; i += 2) {
    set_arg(L, argc, argv, 0);
    ran = 1;
    if (argv[i][1] == 'e') {
      interactive = 1;
      luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
      int failed = load_code(L, argv[i + 1]);
      if (!failed) luaJIT_setmode(L, -1, LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_OFF);
      code = run_chunk(L, failed, 0, NULL, 0);
      interactive = 0;
    } else {
      lua_getglobal(L, "require");
      lua_pushstring(L, argv[i + 1]);
      int failed = call(L, 1, 0);
      code = failed < 0 ? 0 : failed;
    }
  }
  if (code || (ran && i >= argc)) return code;
  if (i < argc && !strcmp(argv[i], "-")) {
    set_arg(L, argc, argv, i);
    return run_chunk(L, luaL_loadfile(L, NULL), argc, argv, i + 1);
  }
  if (i < argc && is_plain_script(argv[i])) {
    set_arg(L, argc, argv, i);
    return run_chunk(L, luaL_loadfile(L, argv[i]), argc, argv, i + 1);
  }
  return run_cli(L, argc, argv);
}

/* A package is built for the processors of years ago. Beside the command it holds another, built for AVX-512 with VNNI:
** its name is added to this command's path where it is there and runs here. Returns whether it was. */
static int take_better_build(char *path, size_t size) {
#if defined __x86_64__ && !defined __AVX512VNNI__
  static const char better[] = "-x86-64-v4";
  size_t at = strlen(path);
  __builtin_cpu_init();
  if (at + sizeof better > size || !__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("avx512vl")
      || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq")) return 0;
  memcpy(path + at, better, sizeof better);
  if (!access(path, X_OK)) return 1;
  path[at] = 0;
#else
  (void)path;
  (void)size;
#endif
  return 0;
}

/* Starts the command once more, where another build of it suits the processor better, and where OpenMP's idle threads
** would spin for long, as they do by default: that ruins a machine that is shared, a short spin costs nothing, and libgomp
** reads what says so before main. */
static void start_again(char **argv) {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0) return;
  path[n] = 0;
  int better = take_better_build(path, sizeof path), spins = !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT");
  if (spins && setenv("GOMP_SPINCOUNT", "10000", 1)) return;
  if (spins || better) execv(path, argv);
}

/* The profile, where one was asked for (DATAMUX_PROFILE). */
static void finish_profile(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
  lua_getfield(L, -1, "datamux.profile");
  if (!lua_istable(L, -1)) return;
  lua_getfield(L, -1, "finish");
  if (lua_isfunction(L, -1) && lua_pcall(L, 0, 0, 0)) fprintf(stderr, "datamux: %s\n", lua_tostring(L, -1));
}

/* The last of standard output; what cannot be written is no success. */
static void deliver(void) {
  if (!fflush(stdout) && !ferror(stdout)) return;
  fprintf(stderr, "error[E401]: standard output: %s\n", strerror(errno));
  _exit(4);
}

int main(int argc, char **argv) {
  start_again(argv);
  atexit(deliver);         /* the parser of the command line ends the process itself, after --help */
  lua_State *L = luaL_newstate();
  if (!L) {
    fprintf(stderr, "datamux: not enough memory for Lua\n");
    return 5;
  }
  state = L;
  luaL_openlibs(L);
  install_modules(L);
  handle(SIGINT, on_signal);
  handle(SIGPIPE, SIG_DFL);
  int code = dispatch(L, argc, argv);
  finish_profile(L);
  if (!code) deliver();
  fflush(NULL);
  _exit(code);             /* the system takes everything back at once; nothing is left for finalisers to write */
}
