-- commands/completion.lua -- completion scripts of shells, from the one specification.
local M = { name = 'completion', summary = 'a completion script: eval "$(datamux completion bash)"' }

function M.configure(p)
  p:argument('shell', 'bash, zsh or fish'):choices { 'bash', 'zsh', 'fish' }
end

-- For bash, what argparse leaves out: keys of recipes, and recipes where a command may stand.
local MORE = [==[
    if [[ "$cur" != -* && "$cur" != *=* && "$prev" != -* ]]; then
        case "$cmd" in
            run|check|'')
                case " ${COMP_WORDS[*]} " in
                    *.lua\ *)
                        COMPREPLY+=($(compgen -W "%s" -- "$cur"))
                        compopt -o nospace 2> /dev/null
                        ;;
                    *) COMPREPLY+=($(compgen -f -X '!*.lua' -- "$cur")) ;;
                esac
                ;;
        esac
    fi

]==]

function M.run(o)
  local p = require('datamux.commands').parser()
  local text = p['get_' .. o.shell .. '_complete'](p)
  if o.shell == 'bash' then
    local keys = {}
    for i, path in ipairs(require('datamux.override').paths()) do keys[i] = path .. '=' end
    local at = assert(text:find('    if [[ "$cur" = -* ]]; then', 1, true))
    text = text:sub(1, at - 1) .. MORE:format(table.concat(keys, ' ')) .. text:sub(at)
  end
  io.write(text)
  return 0
end

return M
