-- Ends a load of KEYS[1]: stores ARGV[2] with the TTL ARGV[3] (empty for none, '0' removes) where the key
-- holds what it held when the load began, which is nothing or what has the hash ARGV[4]. With KEYS[2] only
-- where the lease is still that of the owner ARGV[1]; it ends, and those who wait are told on the channel
-- ARGV[5]. Returns whether the key is now as asked for.
if KEYS[2] then
  if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
  redis.call('UNLINK', KEYS[2])
end
local value = redis.call('GET', KEYS[1])
local same = not value or redis.sha1hex(value) == ARGV[4]
if same and ARGV[3] == '0' then
  redis.call('UNLINK', KEYS[1])
elseif same and ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
elseif same then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if KEYS[2] then redis.pcall('PUBLISH', ARGV[5], '') end
return same and 1 or 0
