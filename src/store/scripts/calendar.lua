-- A count for the current day or month, in UTC, by the store's clock.
local DAY = 86400
local floor = math.floor

-- The first day of the month that this day is in; both in days since 1970. As in
-- https://howardhinnant.github.io/date_algorithms.html#civil_from_days
local function month_of(day)
  local z = day + 719468
  local doe = z - floor(z / 146097) * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  return day - (doy - floor((153 * floor((5 * doy + 2) / 153) + 2) / 5))
end

-- Start and end in seconds.
local function around(second)
  local day = floor(second / DAY)
  if ARGV[2] == 'day' then return day * DAY, (day + 1) * DAY end
  local start = month_of(day)
  return start * DAY, month_of(start + 31) * DAY
end

local start, ends = around(now / 1000000)
local epoch, last, known_to, entered, used = begin_epoch(), now, now, start, 0
local state = redis.call('GET', KEYS[1])
if state then
  epoch, last, known_to, entered, used = struct.unpack('<ddddd', state)
  known_to = known_up_to(last, known_to)
end
local lost, changed = missing(epoch, known_to), false
if now < last then
  epoch, changed = epoch + 1, true
end
if entered == ends then
  -- The clock has stepped back over the start of the window. Counting goes on in the later one.
  start, ends = around(entered)
elseif entered > start then
  -- It has stepped back further, so it was wrong before. No time has passed.
  changed = true
elseif entered < start then
  -- What is owed goes over into the window that follows.
  local _, next_start = around(entered)
  used = next_start == start and math.max(0, used - max) or 0
  changed = true
end
local rest = ends * 1000000 - now

if back > 0 and of == epoch and granted >= start * 1000000 then
  used, changed = math.max(0, used - back), true
end
local counted = debt
if period == start then counted = counted + told + lost end
if counted > 0 then
  -- Nobody owes more than a window holds.
  used, changed = math.max(used, math.min(used + counted, 2 * max)), true
end

-- A lease ends with its window, so nothing of an older one is spent in this.
local from = start * 1000000
local units = granted_of(math.max(0, max - used), from)
used = used + units
if units > 0 or changed then
  local _, next_end = around(ends)
  local until_paid = used > max and next_end * 1000000 - now or rest
  save(struct.pack('<ddddd', epoch, now, kept(known_to), start, used), until_paid + 1000000)
end

local more = 0
if units < need then
  more = need > max and -1 or rest
elseif used > 0 then
  more = rest
end
return {units, math.max(0, max - used), more, math.min(lease, rest), epoch, now, since, grants(from) and 1 or 0}
