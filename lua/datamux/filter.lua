-- filter.lua -- predict as a Unix filter: records in, the same records with answers out, one for one and in order.
--
-- Records are collected in windows (see predict.lua); a window is answered and written as a whole. What is wrong with a
-- record is its own affair: it keeps its place and gets the answer null.
local ffi = require 'ffi'
local lfs = require 'lfs'
local core = require 'datamux.ffi'
local errors = require 'datamux.errors'
local predict = require 'datamux.predict'
local reader = require 'datamux.data.reader'
local records = require 'datamux.data.records'
local render = require 'datamux.render'
local sys = require 'datamux.sys'
local task = require 'datamux.data.task'
local C = core.C

local M = {}

local Filter = {}
Filter.__index = Filter

local SHOWN = 5                  -- faulty records that are named; the rest is counted

if not pcall(ffi.typeof, 'struct dm_filter_defined') then
  ffi.cdef [[
    struct dm_filter_defined { int one; };
    ssize_t write(int fd, const void *data, size_t n);
  ]]
end

-- -- where the text is -----------------------------------------------------------------------------------------------

local usual = { 'text', 'sentence', 'content' }
local usual_words = { 'tokens', 'words', 'text', 'sentence', 'content' }              -- of a tagger
local usual_pairs = { { 'sentence1', 'sentence2' }, { 'premise', 'hypothesis' }, { 'question', 'sentence' },
                      { 'question1', 'question2' }, { '#1 String', '#2 String' }, { 'text', 'pair' } }

local function contains(list, value)
  for _, v in ipairs(list) do
    if v == value then return true end
  end
  return false
end

local function no_column(source, what, names)
  errors.raise('E302', { what = ('%s: no --%s is given and no column has a usual name; columns are: %s'):format(
    source.path, what, table.concat(names, ', ')),
    fix = source.format == 'text' and '--in tsv, csv or jsonl, which have columns' or ('--%s NAME'):format(what) })
end

-- The columns of text and pair: as given, those that the model learned from, the usual names, or the only column of
-- text.
local function choose(self, source, record, names)
  local o, learned = self.o, task.columns(self.model.config, source.format)
  local text, pair = o.text or records.find(names, learned.text), o.pair
  if self.pairs and not pair then
    pair = records.find(names, learned.pair)
    if not pair then text = o.text end
    for _, p in ipairs(usual_pairs) do
      if not text and contains(names, p[1]) and contains(names, p[2]) then text, pair = p[1], p[2] end
    end
    if not pair then no_column(source, 'pair', names) end
  end
  for _, name in ipairs(self.render.kind == 'tag' and usual_words or usual) do
    if not text and contains(names, name) then text = name end
  end
  if text then return text, pair end
  local strings = {}
  for _, name in ipairs(names) do
    if not record.value or type(record.value[name]) == 'string' then strings[#strings + 1] = name end
  end
  if #strings ~= 1 then no_column(source, 'text', names) end
  return strings[1], pair
end

-- -- output ----------------------------------------------------------------------------------------------------------

local AGAIN, INTERRUPTED, BROKEN_PIPE = 11, 4, 32

-- Writes all of `text`. A reader that has gone ends the process quietly, as it does a filter's.
local function write_all(fd, text, name)
  local data, at, n = ffi.cast('const char *', text), 0, #text
  while at < n do
    local k = tonumber(C.write(fd, data + at, n - at))
    if k >= 0 then
      at = at + k
    else
      local why = ffi.errno()
      if why == BROKEN_PIPE then os.exit(141) end
      if why ~= AGAIN and why ~= INTERRUPTED then
        errors.raise('E401', ('%s: %s'):format(name, ffi.string(C.strerror(why))))
      end
    end
  end
end

-- What a file of answers that may have been cut off holds: its header and all from its last whole window on, and how
-- many records are before that. o: { header (bytes), window (records), csv, conll }.
local function last_window(f, o)
  local count, before, mark, base, rest, quotes = 0, o.header, o.header, o.header, '', 0
  local header = f:read(o.header) or ''
  for block in function() return f:read(2 ^ 20) end do
    rest = rest .. block
    local at = 1
    for line, stop in rest:gmatch '([^\n]*)\n()' do
      if o.csv then quotes = quotes + select(2, line:gsub('"', '')) end
      if quotes % 2 == 0 and (not o.conll or line == '') then
        count = count + 1
        if count % o.window == 0 then before, mark = mark, base + stop - 1 end
      end
      at = stop
    end
    base, rest = base + at - 1, rest:sub(at)
  end
  f:seek('set', before)
  return header .. f:read '*a', math.max(0, math.floor(count / o.window) - 1) * o.window
end

local function refuse_output(o, what, fix)
  errors.raise('E218', { what = ("-O is '%s', which %s"):format(o.path, what), fix = fix or 'another -O' })
end

-- Refuses an output file that is an input, and one that is there and cannot be this command's, cut off.
local function check_output(o)
  local out = lfs.attributes(o.path)
  if not out or out.mode ~= 'file' then return end
  for _, path in ipairs(o.files) do
    local input = lfs.attributes(path == '-' and '/dev/stdin' or path)
    if input and input.dev == out.dev and input.ino == out.ino then refuse_output(o, 'is an input too') end
  end
  if out.size > 0 and (o.on_error == 'skip' or contains(o.files, '-')) then refuse_output(o, 'is there already') end
end

-- Finds what the output file holds already: the records before its last whole window are passed over.
local function look_back(self)
  local path, r = self.o.path, self.render
  if self.there then return end
  self.there = ''
  if not path or lfs.attributes(path, 'mode') ~= 'file' then return end
  local f, why = io.open(path, 'rb')
  if not f then errors.raise('E401', why) end
  self.there, self.skip = last_window(f, { header = #(self.header or ''), window = self.predictor.capacity,
    csv = r.format == 'csv', conll = r.format == 'conll' })
  f:close()
  self.found, self.figures.skipped = self.there ~= '', self.skip
  if self.skip > 0 then self.skip, self.pending = self.skip - self.pending, 0 end       -- faulty ones came before
end

-- Opens the output file: late, so that a mistake in the input leaves none behind.
local function open_output(self)
  if self.fd then return end
  local path = self.o.path
  local fd = C.open(path, 1089, ffi.cast('int', 420))                     -- O_WRONLY | O_CREAT | O_APPEND, 0644
  if fd < 0 then sys.unwritable(path, ('%s: %s'):format(path, ffi.string(C.strerror(ffi.errno())))) end
  self.fd = fd
end

local function refuse_other(o)
  refuse_output(o, o.resume and 'this command did not write (another model, option, input or shard)'
    or 'is there already')
end

-- Writes to the output file. What is there already is answered again and must be the same, byte for byte: nothing that
-- is there is ever lost.
local function put(self, text)
  local there, n = self.there, math.min(#self.there, #text)
  if there:sub(1, n) ~= text:sub(1, n) then refuse_other(self.o) end
  self.there = there:sub(n + 1)
  if n == #text then return end
  if self.found and not self.o.resume then
    refuse_output(self.o, 'is there already', '--resume to continue it, or another name')
  end
  open_output(self)
  write_all(self.fd, text:sub(n + 1), self.o.path)
end

-- After the last window: an output file is there, and holds no more than was written.
local function finish(self)
  if not self.o.path then return end
  if self.there ~= '' or self.found and not self.o.resume then refuse_other(self.o) end
  open_output(self)
end

-- Writes what goes before the first record, once, when there is a window to write or nothing more to read.
local function write_header(self)
  look_back(self)
  if self.header then self.sink(self.header) end
  self.header = nil
end

local function check_resume(o)
  if not o.path then errors.raise('E200', '--resume is given without -O FILE, expected both') end
  if o.on_error == 'skip' then errors.raise('E200', '--resume is given with --on-error skip, expected null or fail') end
  if contains(o.files, '-') then errors.raise('E200', '--resume: the input is standard input, expected files') end
end

-- -- windows ---------------------------------------------------------------------------------------------------------

local function complain(self, record, why)
  local text = ('E305: %s:%d: %s'):format(record.source.path, record.line, why)
  if self.o.on_error == 'fail' then errors.raise('E305', (text:gsub('^E305: ', ''))) end
  self.figures.errors = self.figures.errors + 1
  if self.figures.errors <= SHOWN and self.o.note then self.o.note(text) end
end

-- Refuses a column that is in no record of a file so far: that is no fault of records.
local function check_columns(self)
  local c = self.unseen[1]
  if not c then return end
  local near = not tonumber(c.column) and errors.nearest(c.column, c.names) or nil
  errors.raise('E302', { what = ("%s: no column '%s', columns are: %s"):format(c.place, tostring(c.column),
    table.concat(c.names, ', ')), near = near,
    fix = ('--%s %s'):format(c.flag, near or 'NAME, one of these') })
end

-- Answers the window and writes it.
local function flush(self)
  if self.pending == 0 then return end
  check_columns(self)
  if self.lost and self.o.note then self.o.note(self.lost) end
  self.lost = self.lost and false
  for k = 1, self.pending do
    if self.why[k] then complain(self, self.window[k], self.why[k]) end
  end
  self.predictor:score()
  local out, n = {}, 0
  for k = 1, self.pending do
    local why = self.why[k]
    if not (why and self.o.on_error == 'skip') then
      n = n + 1
      out[n] = self.render:record(self.window[k], self.answer[k], why)
    end
  end
  out[n + 1] = ''
  write_header(self)
  self.sink(table.concat(out, '\n'))
  self.predictor:clear()
  self.pending = 0
  if self.o.progress then self.o.progress(self.figures, self.predictor.figures) end
end

-- The words of a record for a tagger: a CoNLL column, a JSON list, or a text cut at blanks.
local function words_of(value)
  if type(value) == 'table' then
    for _, w in ipairs(value) do
      if type(w) ~= 'string' then return nil, 'a word is no text' end
    end
    return value
  end
  local words = {}
  for w in value:gmatch '%S+' do words[#words + 1] = w end
  return words
end

-- Puts a record's text into the window: true, or false and the reason where it has none.
local function add(self, record)
  if record.bad then return false, record.bad end
  local text, why = self.first(record)
  if text == nil then return false, why end
  local tagger = self.render.kind == 'tag'
  if type(text) ~= 'string' and not (tagger and type(text) == 'table') then
    return false, ("'%s' is a %s, expected text"):format(self.text, type(text))
  end
  if tagger then
    record.words, why = words_of(text)
    if not record.words then return false, why end
    return self.predictor:add_words(record.words)
  end
  if not self.second then return self.predictor:add(text) end
  local pair
  pair, why = self.second(record)
  if pair == nil then return false, why end
  if type(pair) ~= 'string' then return false, ("'%s' is a %s, expected text"):format(self.pair, type(pair)) end
  return self.predictor:add(text, pair)
end

local function take(self, source, record)
  local k, at = self.pending + 1, self.predictor.n
  record.source, record.number = source, self.figures.records
  self.figures.records = self.figures.records + 1
  local ok, why
  if not record.document then ok, why = add(self, record) end
  self.answer[k], self.why[k] = ok and at or nil, why
  self.pending = k
  if k == self.predictor.capacity then flush(self) end
end

-- -- files -----------------------------------------------------------------------------------------------------------

-- Refuses options that plain text has no use for, where it was only taken for that.
local function check_guess(o, path)
  for _, e in ipairs { { '--text', o.text }, { '--pair', o.pair }, { '--id', o.id },
                       { '--no-header', o.header == false or nil } } do
    if e[2] then
      errors.raise('E215', { what = ('%s: %s is given, but no format, and plain text has no columns'):format(
        path == '-' and 'standard input' or path, e[1]), fix = '--in tsv, csv or jsonl' })
    end
  end
end

local function format_of(o, path)
  if o.input and o.input ~= 'auto' then return o.input end
  local known = path ~= '-' and records.format_of(path)
  if known then return known end
  local first = path ~= '-' and reader.lines(path)()
  if first and first:find '^%s*{' then return 'jsonl' end
  check_guess(o, path)
  return 'text'
end

-- The columns that are asked for by a name that the source's header has not; where it has no header, all of them, which
-- records may then have (see look): a list of { flag, column, place, names }.
local function absent(self, source, record, names)
  local o, asked, out = self.o, { { 'text', self.text }, { 'pair', self.pair } }, {}
  if o.keep == 'none' then asked[3] = { 'id', o.id } end
  for _, name in ipairs(type(o.keep) == 'table' and o.keep or {}) do asked[#asked + 1] = { 'keep', name } end
  if source.format == 'conll' then names, asked = { ('1 to %d'):format(#record) }, { asked[1] } end
  for _, e in ipairs(asked) do
    local flag, column = e[1], e[2]
    local number = tonumber(column)
    local there = source.header and (contains(names, column) or number and number >= 1 and number <= #names)
    if column and not there then
      out[#out + 1] = { flag = flag, column = column, names = names,
                        place = source.header and source.path .. ':1' or source:where(record) }
    end
  end
  return out
end

-- At the first record that tells the columns: what is read and kept; where all of it is there, the header goes out.
local function settle(self, source, record)
  local o, names = self.o, source:names(record)
  if source.format == 'conll' then
    self.text = o.text or tonumber(task.columns(self.model.config, 'conll').text) or 1
  else
    self.text, self.pair = choose(self, source, record, names)
  end
  self.unseen = absent(self, source, record, names)
  if source.header then check_columns(self) end
  self.first, self.second = source:column(self.text), self.pair and source:column(self.pair)
  if not self.settled then
    self.header = self.render:begin(source, names)
    look_back(self)
    self.settled = true
  end
end

-- Takes the columns that a record has out of those that none had so far.
local function look(self, source, record)
  for i = #self.unseen, 1, -1 do
    if source:has(record, self.unseen[i].column) then table.remove(self.unseen, i) end
  end
end

-- Notes once that a key of a record has no column in the output, which has those of the first record.
local function check_keys(self, source, record)
  if self.lost ~= nil or not (record.value and self.render.keep == 'all' and self.render:delimited()) then return end
  for key in pairs(record.value) do
    if not self.render.place[key] then
      self.lost = ("notice: %s: key '%s' has no column and is left out: the columns are the first record's keys\n"
        .. '  fix: --out jsonl, or --keep with the names of all columns'):format(source:where(record), key)
    end
  end
end

local function open(self, path)
  local o = self.o
  local format = format_of(o, path)
  if self.format and format ~= self.format then
    errors.raise('E215', ('%s: its format is %s, expected %s as in %s\n  fix: give --in, or a command for each format')
      :format(path, format, self.format, o.files[1]))
  end
  self.format = format
  local out = o.output == 'same' and format or o.output
  self.render = self.render or render.new(self.predictor, self.model, { format = out, k = o.k, scores = o.scores,
    threshold = o.threshold, keep = o.keep, id = o.id, header = o.header, submitted = o.submitted })
  return records.open(path, { format = format, header = o.header, keep = true })
end

-- Whether the window should go out because nothing more arrives.
local function idle(self, source)
  return self.pending > 0 and not source.buffered() and not reader.ready(self.o.flush)
end

local function run_file(self, path)
  local source = open(self, path)
  local shard, live, settled = self.o.shard, path == '-' and self.o.flush > 0, false
  while true do
    if live and idle(self, source) then flush(self) end
    local place = self.pending + 1
    local record = source:next(self.window[place])
    if not record then break end
    self.window[place] = record
    if not settled and not record.bad then
      settle(self, source, record)
      settled = true
    end
    if self.unseen[1] and not record.bad then look(self, source, record) end
    check_keys(self, source, record)
    self.seen = self.seen + 1
    local mine = not shard or (self.seen - 1) % shard[2] == shard[1] - 1
    if mine and (not record.document or self.render.format == 'conll') then
      if self.skip > 0 then
        self.skip = self.skip - 1
        self.figures.records = self.figures.records + 1
      else
        take(self, source, record)
      end
    end
  end
  if not settled and source.header then settle(self, source, {}) end
  check_columns(self)
end

-- Refuses options about texts that the model does not read.
local function check_texts(model, o)
  local kind = model.output == 'tag' and 'words' or o.pairs and 'pairs of texts'
  if o.truncate == 'left' and kind then
    errors.raise('E215', { what = ('--truncate is left, which has no meaning for a model that reads %s'):format(kind),
                           fix = 'leave out --truncate' })
  end
  local unknown = model.data and model.data.published and not model.data.task       -- may read pairs: it does not say
  if o.pair and not (o.pairs or unknown) then
    errors.raise('E215', { what = ("--pair is '%s': the model reads single texts"):format(o.pair),
                           fix = 'leave out --pair' })
  end
end

--- Answers the records of files. model: a loaded one; o: { files (names, '-' is standard input), input ('auto', or a
--- format of records), text, pair, id (columns), header (false: tsv and csv have none), output ('same' or one of
--- render.formats), keep, k, scores, threshold (see render.new), on_error ('null' | 'fail' | 'skip'), truncate,
--- ensemble, group, rows (see predict.new), flush (ms after which a part of a window goes out; 0: never), shard ({ i,
--- n }: every n-th record), path (output file) and resume (continue it), sink (gets the output instead: a function),
--- pairs (the model takes two texts), note (gets a line for a faulty record), progress (called after each window) }.
--- Returns figures { records, errors, skipped } and the predictor's { texts, truncated, tokens, places, forward }.
function M.run(model, o)
  if o.resume then check_resume(o) end
  if o.path then check_output(o) end
  check_texts(model, o)
  local self = setmetatable({ model = model, o = o, pairs = o.pairs, pending = 0, seen = 0, skip = 0, unseen = {},
    window = {}, answer = {}, why = {}, predictor = predict.new(model, o),
    figures = { records = 0, errors = 0, skipped = 0 },
    sink = o.sink or function(text) write_all(1, text, 'standard output') end }, Filter)
  if o.path then self.sink = function(text) put(self, text) end end
  local ok, why = pcall(function()
    for _, path in ipairs(o.files) do run_file(self, path) end
    flush(self)
    write_header(self)
    finish(self)
  end)
  if self.fd then C.close(self.fd) end
  if not ok then error(why, 0) end
  return self.figures, self.predictor.figures
end

return M
