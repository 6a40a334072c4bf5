-- Takes the lock KEYS[1], a hash: o its owner, u the end of the lease, f the last fence. ARGV[1]: the
-- owner; ARGV[2]: the lease. Times are those of the server in microseconds, in strings: Lua would write
-- numbers of that size with an exponent. Returns the fence, or the negative rest of another's lease.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local held = redis.call('HMGET', KEYS[1], 'o', 'u', 'f')
if held[1] and tonumber(held[2]) > now then
  return string.format('%.0f', now - held[2])
end
local fence = string.format('%.0f', math.max((held[3] or 0) + 1, now))
local ends = string.format('%.0f', now + ARGV[2])
redis.call('HSET', KEYS[1], 'o', ARGV[1], 'u', ends, 'f', fence)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return fence
