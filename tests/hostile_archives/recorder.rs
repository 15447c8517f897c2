//! A sink that remembers what it was given, and insists that it is given sense.

use std::collections::BTreeMap;

use pachat::archive::manifest::{Entry, Manifest};
use pachat::archive::read::Sink;
use pachat::model::error::Result;

use super::build::sha256;

#[derive(Default)]
pub struct Recorder {
    /// Whether the manifest came.
    pub begun: bool,
    /// The file that began and did not end, and its bytes so far.
    pub open: Option<(Entry, Vec<u8>)>,
    /// The files that came to their end.
    pub whole: BTreeMap<String, Vec<u8>>,
}

impl Sink for Recorder {
    fn manifest(&mut self, _manifest: &Manifest) -> Result<()> {
        assert!(!self.begun, "the manifest came twice");
        self.begun = true;
        Ok(())
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        assert!(self.begun, "a file came before the manifest");
        assert!(self.open.is_none(), "a file began within another");
        self.open = Some((entry.clone(), Vec::new()));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let (entry, data) = self.open.as_mut().expect("data belongs to a file");
        data.extend_from_slice(bytes);
        assert!(
            data.len() as u64 <= entry.size,
            "more than the manifest says"
        );
        Ok(())
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        let (begun, data) = self.open.take().expect("a file that ends has begun");
        assert_eq!(begun, *entry);
        assert_eq!(data.len() as u64, entry.size);
        assert_eq!(sha256(&data), entry.sha256.to_string());
        let before = self.whole.insert(entry.path.as_str().to_owned(), data);
        assert!(before.is_none(), "{} came twice", entry.path);
        Ok(())
    }
}
