-- Looks for a page that one replica has read for all, or takes the turn to read it.
--
-- KEYS[1]  the page, a hash: `at`, the milliseconds at which its reader was about to ask, and `body`
-- KEYS[2]  who is reading it
-- ARGV[1]  the id of this replica
-- ARGV[2]  milliseconds for which a reader has his turn
-- ARGV[3]  milliseconds: a page that is older is none
--
-- Answers 'read', the page's age and the page; 'ours', the turn, ''; or 'theirs', 0, ''.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local page = redis.pcall('HMGET', KEYS[1], 'at', 'body')
local at = page.err == nil and tonumber(page[1])
if at and page[2] then
    -- The clock may have gone back.
    local age = math.max(0, now - at)
    if age <= tonumber(ARGV[3]) then
        return { 'read', string.format('%.0f', age), page[2] }
    end
end
local turn = ARGV[1] .. ' ' .. string.format('%.0f', now)
if redis.call('SET', KEYS[2], turn, 'NX', 'PX', ARGV[2]) then
    return { 'ours', turn, '' }
end
return { 'theirs', '0', '' }
