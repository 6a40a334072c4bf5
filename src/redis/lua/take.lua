-- What claim.lua does with the lease alone, KEYS[1]: takes it for the owner ARGV[1], for ARGV[2] milliseconds,
-- and answers with its token; where another holds it, with its rest, or with that one's token if ARGV[3] is '1'.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return ARGV[1] end
return redis.call(ARGV[3] == '1' and 'GET' or 'PTTL', KEYS[1])
