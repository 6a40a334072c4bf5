-- ARGV[3]: the number to add. Numbers come back as digits: those of Lua have 53 bits.
if type(there) == 'string' then return {there} end
if there == 0 then
  put(ARGV[3], ARGV[4])
  return ARGV[3]
end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[3])
if type(sum) == 'table' then
  if string.find(sum.err, 'not an integer') or string.find(sum.err, 'overflow') then return 0 end
  return sum
end
return redis.call('GET', KEYS[1])
