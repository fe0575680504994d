//! The final states of the unquantized model over some windows, of which its output matrix makes its predictions: in memory, or in a
//! file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use convert::scratch::Scratch;
use reference::Model;

use crate::{Error, Result};

/// States of windows, one after the other.
pub(super) enum States {
    Memory(Vec<Vec<f32>>),
    File {
        file: File,
        path: PathBuf,
        /// Bytes of each window, and where it begins.
        places: Vec<(u64, usize)>,
        _folder: Scratch,
    },
}

impl States {
    /// Runs windows through a model. With a folder, what comes out goes to a file there.
    pub(super) fn of(
        model: &Model,
        windows: &[&[u32]],
        folder: Option<&Path>,
        mut on_window: impl FnMut(usize),
    ) -> Result<Self> {
        let Some(folder) = folder else {
            let mut all = Vec::with_capacity(windows.len());
            for (index, window) in windows.iter().enumerate() {
                on_window(index);
                all.push(model.final_states(window)?);
            }
            return Ok(Self::Memory(all));
        };
        let folder = Scratch::new(folder)?;
        let path = folder.path().join("states");
        let failed = |source| Error::Io {
            path: path.clone(),
            source,
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed)?;
        let mut places = Vec::with_capacity(windows.len());
        let mut at = 0;
        for (index, window) in windows.iter().enumerate() {
            on_window(index);
            let states = model.final_states(window)?;
            let bytes: Vec<u8> = states.iter().flat_map(|x| x.to_le_bytes()).collect();
            file.write_all(&bytes).map_err(failed)?;
            places.push((at, bytes.len()));
            at += bytes.len() as u64;
        }
        Ok(Self::File {
            file,
            path,
            places,
            _folder: folder,
        })
    }

    /// The states of a window.
    pub(super) fn get(&mut self, window: usize) -> Result<Cow<'_, [f32]>> {
        match self {
            Self::Memory(all) => Ok(Cow::Borrowed(&all[window])),
            Self::File {
                file, path, places, ..
            } => {
                let (at, length) = places[window];
                let mut bytes = vec![0; length];
                file.seek(SeekFrom::Start(at))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|source| Error::Io {
                        path: path.clone(),
                        source,
                    })?;
                let (numbers, _) = bytes.as_chunks::<4>();
                Ok(Cow::Owned(
                    numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
                ))
            }
        }
    }
}
