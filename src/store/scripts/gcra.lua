-- A bucket of `max` units that a window and a lease refill: full at first, so the burst is `max`.
--
-- Kept is how much is used, in units, and when that was so: differences of times, never times in
-- units, which a double could not hold at ten million a second.
local rate = max / (window + lease)
local epoch, at, used = now, now, 0
local state = redis.call('GET', KEYS[1])
if state then epoch, at, used = struct.unpack('<ddd', state) end
local changed = false
if now < at then
  -- The clock has stepped back. No time has passed.
  epoch, at, changed = epoch + 1, now, true
end
used = math.max(0, used - (now - at) * rate)

if back > 0 and of == epoch then
  -- Less what the bucket was refilled by since: it may have been full meanwhile, and could not have
  -- been refilled without the lease.
  used = math.max(0, used - math.max(0, back - (now - granted) * rate))
  changed = true
end
local counted = told + unknown_to(epoch) + debt
if counted > 0 then
  -- Nobody owes more than a window refills.
  used = math.max(used, math.min(used + counted, 2 * max))
  changed = true
end

local units = granted_of(math.floor(max - used))
used = used + units
if units > 0 or changed then
  -- At least a window, or a replica would tell what it has spent in it once more; and until the
  -- bucket is full.
  save(struct.pack('<ddd', epoch, now, used), (window + lease) * math.max(1.125, used / max))
end

local left = math.max(0, math.floor(max - used))
local more = 0
if units < need then
  more = need > max and -1 or math.ceil((used + need - max) / rate)
elseif left < max then
  more = math.ceil((used + left + 1 - max) / rate)
end
return {units, left, more, lease, epoch, now}
