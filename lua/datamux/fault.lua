-- fault.lua -- errors of the code that called into the library: its line, and which module of a model was running.
local M = {}

--- Names of the modules being run, consulted only on failure.
M.path = {}

-- "file:line: " of the innermost frame that is not the library's own: the recipe, the spec, the prompt.
local function caller()
  for level = 3, 60 do
    local info = debug.getinfo(level, 'Sl')
    if not info then return '' end
    local inside = info.source:find 'datamux/[%w_/]+%.lua$'
    if info.what ~= 'C' and not inside and info.currentline > 0 then
      return ('%s:%d: '):format(info.short_src, info.currentline)
    end
  end
  return ''
end

--- Raises `text` as the fault of the code that called into the library, with the path of the running module.
function M.raise(text)
  local path = #M.path > 0 and table.concat(M.path, '.') .. ': ' or ''
  for i = #M.path, 1, -1 do M.path[i] = nil end
  error(caller() .. path .. text, 0)
end

return M
