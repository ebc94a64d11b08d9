-- A log of what was granted: never more than `max` in any stretch of a window and a lease, so never
-- more spent in any window.
--
-- At most 64 entries. What was granted in one cell of time is one entry, as young as its youngest:
-- it is forgotten late, never early. Up to 64 units a window, every grant has an entry of its own.
local RUNS = 64
local span = window + lease
local cell = max <= RUNS and 1 or math.ceil(span / (RUNS - 1))
local epoch, last, known_to, owed = begin_epoch(), now, now, 0
local times, counts, first, n, used = {}, {}, 1, 0, 0
local state = redis.call('GET', KEYS[1])
if state then
  n = (#state - 32) / 12
  local all = {struct.unpack('<dddd' .. string.rep('dI4', n), state)}
  epoch, last, known_to, owed = all[1], all[2], known_up_to(all[2], all[3]), all[4]
  for i = 1, n do
    times[i], counts[i] = all[2 * i + 3], all[2 * i + 4]
    used = used + counts[i]
  end
end
local lost, changed = missing(epoch, known_to), false
if now < last then
  -- The clock has stepped back. No time has passed.
  for i = 1, n do times[i] = times[i] - (last - now) end
  epoch, changed = epoch + 1, true
end

local function enter(at, units)
  local is_run = n >= first and math.floor(times[n] / cell) == math.floor(at / cell)
  if is_run or n - first + 1 >= RUNS then
    times[n], counts[n] = math.max(times[n], at), counts[n] + units
  else
    n = n + 1
    times[n], counts[n] = at, units
  end
  used, changed = used + units, true
end

-- What is owed is paid with the room there is, and takes it for a whole window.
local function pay(at)
  local paid = math.min(owed, max - used)
  if paid > 0 then
    owed = owed - paid
    enter(at, paid)
  end
end

while first <= n and times[first] + span <= now do
  used, first = used - counts[first], first + 1
  pay(times[first - 1] + span)
end

if back > 0 and of == epoch and granted + span > now then
  -- Entries only grow younger, so the first that is young enough has it.
  for i = first, n do
    if times[i] >= granted then
      local less = math.min(back, counts[i])
      counts[i], used, changed = counts[i] - less, used - less, true
      if counts[i] == 0 then
        table.remove(times, i)
        table.remove(counts, i)
        n = n - 1
      end
      break
    end
  end
end
local counted = told + lost
if counted > 0 then enter(now, math.min(counted, 2 * max)) end
if debt > 0 then
  owed, changed = math.min(owed + debt, max), true
end
pay(now)

local from = now - span
local units = owed > 0 and 0 or granted_of(max - used, from)
if units > 0 then enter(now, units) end
if changed then
  local packed = {struct.pack('<dddd', epoch, now, kept(known_to), owed)}
  for i = first, n do packed[#packed + 1] = struct.pack('<dI4', times[i], counts[i]) end
  save(table.concat(packed), span * (owed > 0 and 2.25 or 1.125))
end

local more = 0
if units < need and need > max then
  more = -1
elseif used + owed > 0 then
  local free, needed = max - used, units < need and need + owed or math.max(0, max - used) + 1
  for i = first, n do
    if free < needed then
      free, more = free + counts[i], times[i] + span - now
    end
  end
end
return {units, owed > 0 and 0 or math.max(0, max - used), more, lease, epoch, now, since, grants(from) and 1 or 0}
