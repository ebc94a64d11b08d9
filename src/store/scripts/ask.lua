-- What every counter is told. It stands before each of them: one script is `register.lua`, this, and
-- one of `gcra.lua`, `sliding.lua` and `calendar.lua`.
--
-- Times are microseconds, by the store's clock. KEYS[1] is the subject, KEYS[2] the register. ARGV:
--  1 max       units in a window
--  2 window    its length, or `day` or `month`
--  3 lease     how long granted units may be spent
--  4 need      grant at least so many, or none
--  5 want      grant at most so many
--  6 told      units that were spent without having been granted: counted, whatever is left
--  7 epoch     that the replica knows, or 0
--  8 seen      when it was granted units last
--  9 spent     what it spent in the last window beside what is told
-- 10 recent    how much of that was granted within the four seconds before `seen`
-- 11 heard     the register that has been told what was spent before it
-- 12 met       the register that was met last
-- 13 period    of a calendar's `told` and `spent`: the start of their window in seconds, or 0
-- 14 debt      units booked after the request: may pass the limit, and are paid off first
-- 15 back      units given back
-- 16 granted   when they were granted
-- 17 of        the epoch that granted them
-- 18 now       the time, for tests; otherwise there is none
--
-- Answer: units granted, units left, time until there are more (of a refusal: until `need` of them
-- are there, or -1 for never), how long what was granted may be spent from when it was asked for,
-- the epoch, the time, the register, and whether it grants.
local max, window, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, want = tonumber(ARGV[4]), tonumber(ARGV[5])
local told, known, seen = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local spent, recent, heard = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local met, period, debt = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local back, granted, of = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17])
local now = tonumber(ARGV[18])
local is_test = now ~= nil
if not is_test then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local since, all_known, all = register_at(KEYS[2], now, met)

-- An epoch is the millisecond in which the subject was first counted, and how often the clock has
-- stepped back since then; in microseconds.
local function begin_epoch()
  return now - now % 1000
end

-- Up to when what had been counted of the subject was known to a register that all had told, when this
-- one was opened. Kept below nothing where the register that counted it last was not complete: it may
-- have been told by some and not by others.
local function known_up_to(last, kept)
  if last < since and kept >= 0 then return math.max(all_known, last) end
  return math.max(all_known, math.abs(kept))
end

local function kept(known_to)
  return all and known_to or -known_to
end

-- What is missing here of what the replica has spent: all of it if the subject was forgotten, or if it
-- was granted something more than four seconds after what was known.
local function missing(epoch, known_to)
  -- Whoever waits for units does not tell: an answer that is lost would have all of it told again.
  if known == 0 or heard ~= since and want > 0 then return 0 end
  if math.floor(known / 1000) ~= math.floor(epoch / 1000) then return spent end
  if heard == since then return 0 end
  if seen > known_to + 4000000 then return spent end
  -- Times of before the clock has stepped back say nothing.
  return (seen > known_to or known ~= epoch) and recent or 0
end

-- Nothing is granted that others may have spent before this register was opened: until all have told,
-- or all of that is older than the window that is looked back at.
local function grants(from)
  return all or since <= from
end

local function granted_of(free, from)
  if free < need or not grants(from) then return 0 end
  return math.min(want, free)
end

-- Kept until nothing of it matters any more, and up to an eighth longer, by chance: what was
-- counted first at one moment must not go at one moment.
local function save(state, matters)
  local keep = matters + math.min(matters / 8, 60000000) * (now % 1021) / 1021
  if is_test then keep = 3600000000 end
  redis.call('SET', KEYS[1], state, 'PX', math.ceil(keep / 1000))
end
