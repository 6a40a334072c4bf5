-- It is removed in any case; tags are judged later. KEYS[2]: the lease on loading it, which is void: what
-- is loaded now may be from before.
redis.call('UNLINK', unpack(KEYS))
return type(there) == 'string' and {there} or there
