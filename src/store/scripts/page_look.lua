-- Looks for a page that one replica has read for all, or takes the turn to read it.
--
-- KEYS[1]  the page, a hash: `turn`, whose end says when its reader was about to ask, and `body`
-- KEYS[2]  the turn of who is reading it: an id, and the milliseconds at which it began
-- ARGV[1]  the id of this replica
-- ARGV[2]  milliseconds for which a reader has his turn
-- ARGV[3]  milliseconds: a page that is older is none
--
-- Answers 'read', the page's turn, its age and the page; 'ours', the turn, 0, ''; or 'theirs', '', 0, ''.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local page = redis.pcall('HMGET', KEYS[1], 'turn', 'body')
if page.err == nil and page[1] and page[2] then
    local at = tonumber(string.match(page[1], ' (%d+)$'))
    -- The clock may have gone back.
    local age = at and math.max(0, now - at)
    if age and age <= tonumber(ARGV[3]) then
        return { 'read', page[1], string.format('%.0f', age), page[2] }
    end
end
local turn = ARGV[1] .. ' ' .. string.format('%.0f', now)
if redis.call('SET', KEYS[2], turn, 'NX', 'PX', ARGV[2]) then
    return { 'ours', turn, '0', '' }
end
return { 'theirs', '', '0', '' }
