-- Gives the lock KEYS[1] of the owner ARGV[1] back; 0 where it has lost it. Those who wait are told on
-- the channel ARGV[2], where the user may publish.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local held = redis.call('HMGET', KEYS[1], 'o', 'u')
if held[1] ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'o')
redis.pcall('PUBLISH', ARGV[2], '')
return tonumber(held[2]) > now and 1 or 0
