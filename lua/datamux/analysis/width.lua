-- width.lua -- the score against the width. Published sizes: 24, 36, 72, 156, 384 and 768, each with 12 heads.
return require('datamux.analysis.sizes').over { name = 'width', key = 'model.width', title = 'width',
  small = { 32, 64, 128, 256 }, paper = { 24, 36, 72, 156, 384, 768 } }
