-- ARGV[3]: the new TTL, which is not zero.
if there ~= 1 then return type(there) == 'string' and {there} or 0 end
if ARGV[3] == '' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[3] + window))
end
return 1
