-- Begins a load of KEYS[1]. With KEYS[2] the lease on it is taken for the owner ARGV[1], for ARGV[2]
-- milliseconds: where another holds it, its rest is the answer, or it is shared if ARGV[3] is '1'. Else the
-- token of the lease and what is there at this moment: nothing, or its remaining time, its bytes, and the
-- hash to know it by again.
local token = ''
if KEYS[2] then
  token = ARGV[1]
  if not redis.call('SET', KEYS[2], token, 'NX', 'PX', ARGV[2]) then
    if ARGV[3] ~= '1' then return redis.call('PTTL', KEYS[2]) end
    token = redis.call('GET', KEYS[2])
  end
end
local value = redis.call('GET', KEYS[1])
if not value then return {token} end
return {token, redis.call('PTTL', KEYS[1]), value, redis.sha1hex(value)}
