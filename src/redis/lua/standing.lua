-- Whether the entry KEYS[1] counts as there. ARGV[1]: the header whose tags the caller has judged, or
-- empty; ARGV[2]: what it found ('1': they hold, '0': they do not), or 'raw' where values have no header.
local flags, start, window = nil, 0, 0

local function part(from, to)
  return redis.call('GETRANGE', KEYS[1], from, to)
end

-- 0: absent; 1: there; a string: the header whose tags have to be judged first.
local function look()
  local head = ARGV[2] == 'raw' and '' or part(0, 29)
  if #head < 6 or string.sub(head, 1, 3) ~= '\193LC' then
    return (head ~= '' or redis.call('EXISTS', KEYS[1]) == 1) and 1 or 0
  end
  local version, bits, check = string.byte(head, 4, 6)
  -- A damaged value is there: whoever reads it is told that it is damaged.
  if version ~= 1 or bits + check ~= 255 or bits >= 64 then return 1 end
  if bits >= 32 then return 0 end
  local at = bits % 2 == 1 and 22 or 6
  if bits % 4 >= 2 then
    if #head < at + 8 then return 1 end
    window = struct.unpack('<I8', head, at + 1)
    local left = redis.call('PTTL', KEYS[1])
    if left >= 0 and left <= window then return 0 end
    at = at + 8
  end
  local tagged = bits % 8 >= 4
  if tagged then
    local count = part(at, at + 1)
    if #count < 2 then return 1 end
    at = at + 2
    for _ = 1, (struct.unpack('<I2', count)) do
      local length = part(at + 8, at + 9)
      if #length < 2 then return 1 end
      at = at + 10 + struct.unpack('<I2', length)
    end
  end
  if bits % 16 >= 8 then at = at + 5 end
  if bits >= 16 then at = at + 44 end
  flags, start = bits, at
  if not tagged then return 1 end
  local header = part(0, at - 1)
  if ARGV[1] == header then return tonumber(ARGV[2]) end
  return header
end

-- TTLs are milliseconds: empty for none, '0' stores nothing.
local function put(value, ttl)
  if ttl == '' then
    redis.call('SET', KEYS[1], value)
  elseif ttl == '0' then
    redis.call('UNLINK', KEYS[1])
  else
    redis.call('SET', KEYS[1], value, 'PX', ttl)
  end
end

local there = look()
