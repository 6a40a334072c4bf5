-- Writes KEYS[1] if nothing is there, or a payload that the caller knows: a queued write of a Hybrid, on its
-- way again. ARGV[1]: 'set', 'delete', 'expire', or 'remove' and 'touch' (whatever is there); ARGV[2]: the new
-- TTL in milliseconds, empty for none; ARGV[3]: the bytes to set; then pairs for each payload known: its
-- SHA-1 in hexadecimal, and the digest that a header has where the payload is not stored as it is (several
-- pairs where there are several keys). Answers 1, or 0 where another value is there.
local held = redis.call('GET', KEYS[1])
local window = 0

-- What tells one payload from another; nil for a negative entry, where there is none.
local function print_of(stored)
  if string.sub(stored, 1, 3) ~= '\193LC' or #stored < 6 then return redis.sha1hex(stored) end
  local version, bits, check = string.byte(stored, 4, 6)
  if version ~= 1 or bits + check ~= 255 or bits >= 64 then return redis.sha1hex(stored) end
  if bits >= 32 then return nil end
  local digest = bits % 2 == 1 and string.sub(stored, 7, 22)
  local at = digest and 22 or 6
  if bits % 4 >= 2 then
    if #stored < at + 8 then return redis.sha1hex(stored) end
    window = struct.unpack('<I8', stored, at + 1)
    at = at + 8
  end
  if digest then return digest end
  if bits % 8 >= 4 then
    local low, high = string.byte(stored, at + 1, at + 2)
    at = at + 2
    for _ = 1, (low or 0) + 256 * (high or 0) do
      low, high = string.byte(stored, at + 9, at + 10)
      if not high then return redis.sha1hex(stored) end
      at = at + 10 + low + 256 * high
    end
  end
  return redis.sha1hex(string.sub(stored, at + 1))
end

local print, known = held and print_of(held), false
if held and ARGV[1] ~= 'touch' and ARGV[1] ~= 'remove' then
  for i = 4, #ARGV do known = known or ARGV[i] == print end
  if print and not known then return 0 end
end
if ARGV[1] == 'set' then
  if ARGV[2] == '' then
    redis.call('SET', KEYS[1], ARGV[3])
  else
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
  end
elseif ARGV[1] == 'delete' or ARGV[1] == 'remove' then
  redis.call('UNLINK', KEYS[1])
elseif ARGV[2] == '' then
  redis.call('PERSIST', KEYS[1])
else
  -- The stale window of what is there comes after its TTL.
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[2] + window))
end
return 1
