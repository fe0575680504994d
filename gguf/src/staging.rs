//! The temporary file beside a target: `.NAME.partial`, locked while it is written.
//!
//! The name is fixed, so that a second process with the same target finds the lock, a later run reuses
//! what a killed one left, and a run that is continued finds its bytes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::inputs::is_held;
use crate::{Error, Result, Temporary};

/// Longest wait of [`WholeFile::open`] for another process, which holds a small file for an instant only.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a temporary file that another process renames away at this very moment is looked for again.
const ATTEMPTS: usize = 16;

/// The lock on a temporary file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    /// No other process has it.
    Alone,
    /// Other processes write other bytes of it, or the same.
    Shared,
}

/// An open, locked temporary file. Dropped, it is removed, unless it is to be kept or has got its name.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) file: File,
    target: PathBuf,
    path: PathBuf,
    /// There unless it stays when this is dropped.
    temporary: Option<Temporary>,
    named: bool,
}

impl Staging {
    /// Opens the temporary file of a target, with whatever an earlier run left in it.
    ///
    /// # Errors
    /// A target that is not to be replaced, another process that writes it, or an error of the system.
    pub(crate) fn open(path: &Path, keep: bool) -> Result<Self> {
        Self::begin(check_not_input(path)?, keep, Lock::Alone)
    }

    /// Opens the temporary file of a target together with other processes that do so; it stays when this is dropped.
    ///
    /// # Errors
    /// As [`Staging::open`]; a process that has it for itself counts as one that writes it.
    pub(crate) fn open_shared(path: &Path) -> Result<Self> {
        Self::begin(check_not_input(path)?, true, Lock::Shared)
    }

    /// As [`Staging::open`], for a file that is read and then replaced by its changed self.
    pub(crate) fn open_in_place(path: &Path) -> Result<Self> {
        Self::begin(resolve(path)?, false, Lock::Alone)
    }

    fn begin(target: PathBuf, keep: bool, lock: Lock) -> Result<Self> {
        let path = partial_path(&target);
        for _ in 0..ATTEMPTS {
            let open = || open_once(&target, &path, lock);
            let opened = if keep {
                open()?.map(|file| (file, None))
            } else {
                Temporary::make(&path, open)?.map(|(file, noted)| (file, Some(noted)))
            };
            if let Some((file, temporary)) = opened {
                return Ok(Self {
                    file,
                    target,
                    path,
                    temporary,
                    named: false,
                });
            }
        }
        Err(busy(&target))
    }

    /// The path under which the file will be published.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file its name, replacing a file that has it.
    pub(crate) fn publish(mut self) -> Result<()> {
        self.rename()?;
        sync_directory(&self.target);
        Ok(())
    }

    fn rename(&mut self) -> Result<()> {
        let work = || fs::rename(&self.path, &self.target).map_err(Error::io(&self.target));
        match self.temporary.take() {
            Some(temporary) => {
                let renamed = temporary.release(work);
                if renamed.is_err() {
                    self.temporary = Some(Temporary::note(&self.path));
                }
                renamed?;
            }
            None => work()?,
        }
        self.named = true;
        Ok(())
    }

    /// Gives the file its name, unless a file has it.
    pub(crate) fn publish_new(mut self) -> Result<()> {
        match fs::hard_link(&self.path, &self.target) {
            // The temporary name goes when this is dropped.
            Ok(()) => self.temporary = Some(Temporary::note(&self.path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(already_exists(&self.target)),
            // A file system without hard links.
            Err(_) => {
                if fs::symlink_metadata(&self.target).is_ok() {
                    return Err(already_exists(&self.target));
                }
                self.rename()?;
            }
        }
        sync_directory(&self.target);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take().filter(|_| !self.named) {
            // Nobody is left to tell; the next run of the same target reuses what stays.
            let _ = temporary.release(|| fs::remove_file(&self.path));
        }
    }
}

/// A file other than a model that appears whole or not at all, by the same way as a [`crate::Writer`]'s:
/// written under `.NAME.partial`, synced, renamed. While it is open, no other process writes the same file this
/// way; dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct WholeFile(Staging);

impl WholeFile {
    /// Opens the temporary file of `path`, empty, and waits some seconds where another process has it open.
    ///
    /// # Errors
    /// A target that is not to be replaced, another process that does not finish, or an error of the system.
    pub fn open(path: &Path) -> Result<Self> {
        let started = Instant::now();
        let staging = loop {
            match Staging::open(path, false) {
                Err(Error::Target { reason: BUSY, .. }) if started.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                opened => break opened?,
            }
        };
        staging.file.set_len(0).map_err(Error::io(staging.target()))?;
        Ok(Self(staging))
    }

    /// Writes these bytes and finishes.
    ///
    /// # Errors
    /// As [`WholeFile::finish`].
    pub fn publish(mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(Error::io(self.0.target()))?;
        self.finish()
    }

    /// Gives the file its name, replacing a file that has it.
    ///
    /// # Errors
    /// An error of the system; a file that was there is then as it was.
    pub fn finish(self) -> Result<()> {
        self.0.file.sync_all().map_err(Error::io(self.0.target()))?;
        self.0.publish()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks what can be checked of an output before the work that leads to it: that it may be replaced and is no
/// input ([`Inputs`](crate::Inputs)), that its directory takes files, that no other process is writing it, and
/// that the device has `needed` bytes left. What a killed run has left of it is removed, so this is not for runs that
/// are continued.
///
/// # Errors
/// Error that writing it would fail with.
pub fn check_target(path: &Path, needed: u64) -> Result<()> {
    let target = check_not_input(path)?;
    // Dropped at once, with what a killed run may have left there.
    drop(Staging::begin(target.clone(), false, Lock::Alone)?);
    check_space(&target, needed)
}

/// Checks that an output is no input ([`Inputs`](crate::Inputs)) and may be replaced; the file that its name leads
/// to.
///
/// # Errors
/// [`Error::Target`].
pub fn check_not_input(path: &Path) -> Result<PathBuf> {
    let target = resolve(path)?;
    refuse_inputs(&target)?;
    Ok(target)
}

/// Checks that the device of a target has this many bytes left, where the system says how many it has.
///
/// # Errors
/// [`Error::DiskFull`].
pub fn check_space(target: &Path, needed: u64) -> Result<()> {
    match free_space(directory(target)) {
        Some(free) if free < needed => Err(Error::DiskFull {
            path: target.into(),
            needed,
            cause: io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{free} bytes are left on the device"),
            ),
        }),
        _ => Ok(()),
    }
}

/// Bytes that a user without privileges can still write to the device of a directory.
#[cfg(unix)]
fn free_space(directory: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(directory).ok()?;
    // File systems that do not count say 0 of 0.
    (status.f_blocks > 0).then(|| status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

/// Refuses a target that is read by this process, and one whose temporary file is.
fn refuse_inputs(target: &Path) -> Result<()> {
    let refused = |path: &Path, reason| {
        Err(Error::Target {
            path: path.into(),
            reason,
        })
    };
    if is_held(target) {
        return refused(target, "input and output are the same file");
    }
    let partial = partial_path(target);
    if is_held(&partial) {
        return refused(&partial, "this input has the name of the output's temporary file");
    }
    Ok(())
}

/// Error for a second process with the same target.
const BUSY: &str = "another process is writing this file";

pub(crate) fn already_exists(target: &Path) -> Error {
    Error::Target {
        path: target.into(),
        reason: "the output file exists already",
    }
}

fn busy(target: &Path) -> Error {
    Error::Target {
        path: target.into(),
        reason: BUSY,
    }
}

/// Whether the temporary file of a target is there.
pub(crate) fn has_partial(path: &Path) -> bool {
    resolve(path).is_ok_and(|target| partial_path(&target).exists())
}

/// The temporary file of a target, in the same directory.
fn partial_path(target: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".partial");
    target.with_file_name(name)
}

/// One attempt; `None` when the file changed its name between opening and locking.
fn open_once(target: &Path, path: &Path, lock: Lock) -> Result<Option<File>> {
    let refused = |reason| Error::Target {
        path: path.into(),
        reason,
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = match options.clone().create_new(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // Whatever somebody else put under this name is not written through: no links.
            match fs::symlink_metadata(path) {
                Ok(m) if !m.is_file() => return Err(refused("the temporary file is not a regular file")),
                Ok(m) if links(&m) > 1 => return Err(refused("the temporary file has a second name")),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::io(path)(e)),
            }
            match options.open(path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::io(path)(e)),
            }
        }
        Err(e) => return Err(Error::io(target)(e)),
    };
    let locked = match lock {
        Lock::Alone => file.try_lock(),
        Lock::Shared => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy(target)),
        // A file system without locks: then nobody guards against a second process.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(e)) => return Err(Error::io(path)(e)),
    }
    let opened = file.metadata().map_err(Error::io(path))?;
    match fs::symlink_metadata(path) {
        Ok(named) if same_file(&opened, &named) => Ok(Some(file)),
        _ => Ok(None),
    }
}

#[cfg(unix)]
fn links(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn links(_: &fs::Metadata) -> u64 {
    1
}

#[cfg(unix)]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

/// The file that a path leads to, symbolic links followed, so that renaming replaces what the link
/// points at and not the link. Refuses devices, directories and files that are read-only.
fn resolve(path: &Path) -> Result<PathBuf> {
    let target = match fs::symlink_metadata(path) {
        Ok(m) if m.is_symlink() => fs::canonicalize(path).map_err(Error::io(path))?,
        _ => path.to_path_buf(),
    };
    let refused = |path, reason| Err(Error::Target { path, reason });
    match fs::metadata(&target) {
        Ok(m) if !m.is_file() => refused(target, "the output is not a regular file"),
        Ok(m) if m.permissions().readonly() => refused(target, "the output file is read-only"),
        Ok(_) => Ok(target),
        Err(e) if e.kind() == io::ErrorKind::NotFound && target.file_name().is_some() => Ok(target),
        Err(e) => Err(Error::io(path)(e)),
    }
}

pub(crate) fn directory(target: &Path) -> &Path {
    target
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes a rename last through a power cut, where the system lets directories be synced.
pub(crate) fn sync_directory(target: &Path) {
    #[cfg(unix)]
    if let Ok(dir) = File::open(directory(target)) {
        // The file is in place and synced; some file systems cannot sync a directory.
        let _ = dir.sync_all();
    }
    #[cfg(not(unix))]
    let _ = target;
}
