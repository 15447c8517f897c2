//! A conversation that is in use and archived at the same time, because somebody died while it
//! was moved. The one in use counts, as everywhere.

use std::io;

use crate::model::error::{Error, Kind, Result};
use crate::model::id::ConversationId;
use crate::store::Store;

use super::{IN_USE, Moved, Shelf, Spot, left, pack};
use crate::model::backup::Part;

/// Whether the archived one of two has nothing that the other does not begin with; `None` if
/// one of them is gone.
pub fn is_redundant(store: &Store, id: &ConversationId) -> Result<Option<bool>> {
    let (source, packed) = (store.layout().active(id), store.layout().archived(id));
    match pack::begins_with(store.disk(), &source, &packed) {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(
            "cannot compare with the archived copy",
            &packed,
            &error,
        )),
    }
}

impl Shelf<'_> {
    /// Removes the archived one of two, if the other one has everything that it has.
    pub fn drop_twin(&self, id: &ConversationId) -> Result<Moved> {
        let Some(_turn) = self.turn(id)? else {
            return Ok(left(IN_USE));
        };
        match is_redundant(self.store, id)? {
            None => return Ok(left("it is in one place only")),
            Some(false) => return Ok(left("the archived copy has something of its own")),
            Some(true) => {}
        }
        let path = self.store.layout().archived(id);
        let cannot = |error: io::Error| {
            Error::io("cannot remove the archived copy", &path, &error).with_kind(Kind::Io)
        };
        let disk = self.store.disk();
        // The one that stays must have its name for good before the other one loses its own.
        disk.sync_dir(&self.store.layout().active_dir())
            .map_err(cannot)?;
        let bytes = disk.stat(&path).map_err(cannot)?.len;
        disk.remove_file(&path).map_err(cannot)?;
        disk.sync_dir(&self.store.layout().archived_dir())
            .map_err(cannot)?;
        Ok(Moved::To(Spot {
            part: Part::Active,
            name: format!("{id}.jsonl"),
            bytes,
        }))
    }
}
