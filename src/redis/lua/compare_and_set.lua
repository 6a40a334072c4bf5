-- ARGV[5]: the payload expected; ARGV[6]: 'sealed' where only encrypted values count, and the payload is
-- not told; ARGV[7] and on: its digests, for a payload that is not stored as it is.
if there ~= 1 then return type(there) == 'string' and {there} or -1 end
if ARGV[6] == 'sealed' and not (flags and flags >= 16) then return 3 end
local same = false
if flags and flags % 2 == 1 then
  if #ARGV < 7 then return 2 end
  local digest = part(6, 21)
  for i = 7, #ARGV do same = same or ARGV[i] == digest end
elseif redis.call('STRLEN', KEYS[1]) - start == #ARGV[5] then
  same = ARGV[5] == '' or part(start, -1) == ARGV[5]
end
if not same then return 0 end
put(ARGV[3], ARGV[4])
return 1
