-- The lease KEYS[1] of the owner ARGV[1] lasts ARGV[2] milliseconds from now; 0 where it is lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
