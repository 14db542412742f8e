-- commands/completion.lua -- completion scripts of shells. They ask the command itself what may stand there, so that
-- names of runs, values of keys and options of each command are those that hold now.
local M = { name = 'completion', summary = 'a completion script: eval "$(datamux completion bash)"' }

function M.configure(p)
  p:argument('shell', 'bash, zsh or fish'):choices { 'bash', 'zsh', 'fish' }
  p:option('--line', 'the words that may stand at the end of this line, which the scripts ask for'):argname 'LINE'
end

local scripts = {}

-- readline replaces what stands after the last = or : of a word.
scripts.bash = [==[
_datamux() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$'\n'
    local word=${line##*[[:space:]]}
    local kept=${word%"${word##*[=:]}"}
    COMPREPLY=($("${1/#~\//$HOME/}" completion bash --line "$line" 2> /dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then compopt -o nospace 2> /dev/null; fi
}
complete -o bashdefault -o default -F _datamux datamux
]==]

scripts.zsh = [==[
#compdef datamux
_datamux() {
    local -a found
    local ret=1
    found=(${(f)"$(${~words[1]} completion zsh --line "${(j: :)words[1,CURRENT-1]} $PREFIX" 2> /dev/null)"})
    (( $#found )) || { compset -P '*='; _files; return }
    compadd -- ${found:#*[=/]} && ret=0
    compadd -S '' -- ${(M)found:#*[=/]} && ret=0
    return ret
}
if [[ $funcstack[1] == _datamux ]]; then _datamux "$@"; else compdef _datamux datamux; fi
]==]

-- Where nothing is found the condition does not hold, and fish offers files as it always does.
scripts.fish = [==[
function __datamux
    set -l words (string replace -r '^~/' ~/ (commandline -opc)) (commandline -ct | string collect --allow-empty)
    set -g __datamux_found (command -q $words[1]; and $words[1] completion fish --line "$words" 2> /dev/null)
    set -q __datamux_found[1]
end
complete -c datamux -n __datamux -f -a '$__datamux_found'
]==]

function M.run(o)
  if not o.line then
    io.write(scripts[o.shell])
    return 0
  end
  for _, word in ipairs(require('datamux.commands.complete').words(o.line)) do print(word) end
  return 0
end

return M
