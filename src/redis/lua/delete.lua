-- It is removed in any case; tags are judged later.
redis.call('UNLINK', KEYS[1])
return type(there) == 'string' and {there} or there
