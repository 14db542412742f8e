-- heads.lua -- the score against the number of attention heads. Published sizes: 12 and 2 heads of 12 x 768; the
-- scores of 2 heads could not be obtained.
return require('datamux.analysis.sizes').over { name = 'heads', key = 'model.heads', title = 'attention heads',
  small = { 1, 2, 4, 8, 16 }, paper = { 2, 12 } }
