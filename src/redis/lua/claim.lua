-- Begins a load of KEYS[1]. With KEYS[2] the lease on it is taken for the owner ARGV[1], for ARGV[2]
-- milliseconds: where another holds it, its rest is the answer. Else what is there at this moment: nothing,
-- or its remaining time, its bytes, and the hash to know it by again.
if KEYS[2] and not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return redis.call('PTTL', KEYS[2])
end
local value = redis.call('GET', KEYS[1])
if not value then return {} end
return {redis.call('PTTL', KEYS[1]), value, redis.sha1hex(value)}
