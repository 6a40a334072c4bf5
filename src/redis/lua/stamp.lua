-- The stamp of the tag whose record is KEYS[1]. ARGV[1]: the stamp where there is none yet; ARGV[2]:
-- how long the record must live at least, empty for ever; ARGV[3]: how long it lives where that is too
-- short, so that not every write has to prolong it.
local stamp = redis.call('GET', KEYS[1])
if not stamp then
  if ARGV[2] == '' then
    redis.call('SET', KEYS[1], ARGV[1])
  else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  end
  return ARGV[1]
end
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and ARGV[2] == '' then
  redis.call('PERSIST', KEYS[1])
elseif left >= 0 and left < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return stamp
