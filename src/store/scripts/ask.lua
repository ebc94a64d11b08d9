-- What every counter is told. It stands before each of them: one script is this and one of
-- `gcra.lua`, `sliding.lua` and `calendar.lua`.
--
-- Times are microseconds, by the store's clock. KEYS[1] is the subject. ARGV:
--  1 max       units in a window
--  2 window    its length, or `day` or `month`
--  3 lease     how long granted units may be spent
--  4 need      grant at least so many, or none
--  5 want      grant at most so many
--  6 told      units that were spent without having been granted: counted, whatever is left
--  7 epoch     that the replica knows, or 0
--  8 spent     what it spent in the last window: counted, too, if the epoch is another
--  9 period    of a calendar's `told` and `spent`: the start of their window in seconds, or 0
-- 10 debt      units booked after the request: may pass the limit, and are paid off first
-- 11 back      units given back
-- 12 granted   when they were granted
-- 13 of        the epoch that granted them
-- 14 now       the time, for tests; otherwise there is none
--
-- Answer: units granted, units left, time until there are more (of a refusal: until `need` of them
-- are there, or -1 for never), how long what was granted may be spent from when it was asked for,
-- the epoch, and the time.
local max, window, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, want = tonumber(ARGV[4]), tonumber(ARGV[5])
local told, known, spent = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local period, debt = tonumber(ARGV[9]), tonumber(ARGV[10])
local back, granted, of = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local now = tonumber(ARGV[14])
local is_test = now ~= nil
if not is_test then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- What a store that has forgotten the subject is told of it: an epoch is the time at which it was
-- first counted, raised where the clock was seen to step back.
local function unknown_to(epoch)
  return known ~= 0 and known ~= epoch and spent or 0
end

local function granted_of(free)
  if free < need then return 0 end
  return math.min(want, free)
end

-- Kept until nothing of it matters any more, and up to an eighth longer, by chance: what was
-- counted first at one moment must not go at one moment.
local function save(state, matters)
  local keep = matters + math.min(matters / 8, 60000000) * (now % 1021) / 1021
  if is_test then keep = 3600000000 end
  redis.call('SET', KEYS[1], state, 'PX', math.ceil(keep / 1000))
end
