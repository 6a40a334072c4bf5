-- As PTTL, less the stale window.
if there ~= 1 then return type(there) == 'string' and {there} or -2 end
local left = redis.call('PTTL', KEYS[1])
return left < 0 and left or left - window
