//! Memory maps of files: the only unsafe code of this crate.

use std::fs::File;
use std::io;

/// A read-only map of a whole file.
///
/// The map can outlive what it shows: a file that another process shortens leaves pages that fault
/// (SIGBUS) when they are read, and no check made beforehand can rule that out. [`crate::GgufFile`]
/// therefore looks at the file's length on every call, which turns a file that shrank earlier into an
/// error and leaves only the instants of the read itself. That is why a map has to be asked for:
/// [`crate::Backing::File`], the default, has none.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: memmap2::Mmap,
}

impl MappedFile {
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is read-only and private to this struct, and the bytes are only ever
        // handed out as `&[u8]` to code that copies them, decodes them or writes them out; no code
        // here relies on two reads giving the same value (no validated length, index or UTF-8 is
        // kept inside the map: headers are parsed from a separate buffered read). A process that
        // changes the file while it is read can therefore make the results wrong, never unsafe
        // beyond what it could do to any mapped input; shortening it is treated as said above.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self { map })
    }

    /// The mapped bytes of `start..end`, or `None` when they are not all inside the map.
    pub(crate) fn get(&self, start: u64, end: u64) -> Option<&[u8]> {
        let start = usize::try_from(start).ok()?;
        let end = usize::try_from(end).ok()?;
        self.map.get(start..end)
    }
}
