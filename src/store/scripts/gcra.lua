-- A bucket of `max` units that a window and a lease refill: full at first, so the burst is `max`.
--
-- Kept is how much is used, in units, and when that was so: differences of times, never times in
-- units, which a double could not hold at ten million a second.
local rate = max / (window + lease)
-- With it: when no more than half was used last, and how much was taken back whole lately.
local epoch, at, known_to, used, half, whole = begin_epoch(), now, now, 0, now, 0
local state = redis.call('GET', KEYS[1])
if state then
  epoch, at, known_to, used, half, whole = struct.unpack('<dddddI4', state)
  known_to = known_up_to(at, known_to)
end
local lost, changed = missing(epoch, known_to), false
if now < at then
  -- The clock has stepped back. No time has passed.
  epoch, at, half, changed = epoch + 1, now, now, true
end
used = math.max(0, used - (now - at) * rate)
-- A quarter of the limit at once, and another in the time in which a lease can be given back.
local longest = 2 * lease
whole = math.max(0, whole - (now - at) * max / 4 / longest)
if used <= max / 2 then half = now end

if back > 0 and of == epoch then
  if granted >= half and now - granted <= longest and whole + back <= max / 4 then
    -- More than half was used all the while, and that is more than can be given back of it.
    whole = whole + back
    used = used - back
  else
    -- Less what the bucket was refilled by since: it may have been full meanwhile, and could not have
    -- been refilled without the lease.
    used = math.max(0, used - math.max(0, back - (now - granted) * rate))
  end
  if used <= max / 2 then half = now end
  changed = true
end
local counted = told + lost + debt
if counted > 0 then
  -- Nobody owes more than a window refills.
  used = math.max(used, math.min(used + counted, 2 * max))
  changed = true
end

local from = now - window - lease
local units = granted_of(math.floor(max - used), from)
used = used + units
if units > 0 or changed then
  -- At least a window, or a replica would tell what it has spent in it once more; and until the
  -- bucket is full.
  save(struct.pack('<dddddI4', epoch, now, kept(known_to), used, half, math.ceil(whole)), (window + lease) * math.max(1.125, used / max))
end

local left = math.max(0, math.floor(max - used))
local more = 0
if units < need then
  more = need > max and -1 or math.ceil((used + need - max) / rate)
elseif left < max then
  more = math.ceil((used + left + 1 - max) / rate)
end
return {units, left, more, lease, epoch, now, since, grants(from) and 1 or 0}
