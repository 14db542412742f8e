-- depth.lua -- the score against the number of layers. Published sizes: 2, 4, 6, 8 and 12 layers of 768.
return require('datamux.analysis.sizes').over { name = 'depth', key = 'model.layers', title = 'layers',
  small = { 1, 2, 4, 6 }, paper = { 2, 4, 6, 8, 12 } }
