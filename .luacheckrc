-- luacheck settings: LuaJIT, busted in tests; methods may ignore self.
std = 'luajit'
self = false
max_line_length = 120
files['tests'] = { std = 'luajit+busted' }
