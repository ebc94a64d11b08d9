//! Whether who counts the limits has been told what this replica had spent before.

use super::Replica;
use crate::gate::limit_store::{Answer, Entered, Entry, NoGrant, RegisterBook, RegisterId};
use crate::store::script::{Arg, Script, Slot};

static ENTER: Script = Script::new(concat!(
    include_str!("../scripts/register.lua"),
    include_str!("../scripts/enter.lua")
));

impl Replica {
    /// The register of this part of all subjects.
    pub(crate) fn register(&self, part: usize) -> Slot {
        let kind = format!("counts:{}", self.keys.scope);
        self.link.slot(&kind, &part.to_string())
    }

    /// Looks at the registers: who counts may be another by now. A replica without limits of its own
    /// has nothing to tell, and the others wait for it all the same, as it is one of them.
    pub(super) fn visit_registers(&self) {
        let Some(me) = self.me.upgrade() else { return };
        // Not before the next read: that is what revocations come by.
        tokio::spawn(async move { me.registers.visit(&*me).await });
    }
}

impl RegisterBook for Replica {
    fn enter(&self, part: usize, entry: Entry) -> Answer<Result<Entered, NoGrant>> {
        let register = self.register(part);
        let link = self.link.clone();
        let (id, there) = (self.id(), self.members.most_alive().unwrap_or(0));
        Box::pin(async move {
            let args = [
                Arg::Bytes(id.as_bytes()),
                Arg::Int(there.into()),
                Arg::Int(i64::try_from(entry.met.0).unwrap_or(i64::MAX)),
                Arg::Int(entry.is_told.into()),
                Arg::Int(entry.is_late.into()),
            ];
            let answer = link
                .run_within(link.patience(), &ENTER, &[&register], &args)
                .await;
            let answer = answer.and_then(|reply| reply.read::<(u64, u8)>());
            let (since, is_complete) = answer.map_err(|_| NoGrant {
                may_have_counted: false,
            })?;
            Ok(Entered {
                register: RegisterId(since),
                is_complete: is_complete == 1,
            })
        })
    }
}
