-- Ends the lease KEYS[1] of the owner ARGV[1] without a value. Those who wait are told why, ARGV[3], on the
-- channel ARGV[2].
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1
