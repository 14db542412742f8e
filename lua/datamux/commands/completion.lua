-- commands/completion.lua -- completion scripts of shells, from the one specification.
local M = { name = 'completion', summary = 'a completion script: eval "$(datamux completion bash)"' }

function M.configure(p)
  p:argument('shell', 'bash, zsh or fish'):choices { 'bash', 'zsh', 'fish' }
end

function M.run(o)
  local p = require('datamux.commands').parser()
  io.write(p['get_' .. o.shell .. '_complete'](p))
  return 0
end

return M
