//! States that batches hand from layer to layer, in memory or on disk.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::ops::Matrix;
use crate::run::Run;
use crate::{Error, Result};

/// State that goes from layer to layer.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) hidden: Matrix,
    kept: [(Matrix, Matrix); 2],
    per_layer: Option<Matrix>,
    streams: Vec<Matrix>,
    chosen: Option<Vec<Vec<usize>>>,
    first_values: Vec<f32>,
    /// States of the text that layers do not go through, and whether that is the encoder's.
    other: (Matrix, bool),
}

impl State {
    pub(super) fn give(self, run: &mut Run<'_>) -> Matrix {
        run.kept = self.kept;
        run.per_layer = self.per_layer;
        run.streams = self.streams;
        run.chosen = self.chosen;
        run.first_values = self.first_values;
        let (states, is_encoded) = self.other;
        if is_encoded {
            run.exchange_rows();
        }
        run.other.states = states;
        run.other.is_encoded = is_encoded;
        self.hidden
    }

    pub(super) fn take(run: &mut Run<'_>, hidden: Matrix) -> Self {
        Self {
            hidden,
            kept: std::mem::take(&mut run.kept),
            per_layer: run.per_layer.take(),
            streams: std::mem::take(&mut run.streams),
            chosen: run.chosen.take(),
            first_values: std::mem::take(&mut run.first_values),
            other: (std::mem::take(&mut run.other.states), run.other.is_encoded),
        }
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        write_matrix(&self.hidden, out)?;
        for (a, b) in &self.kept {
            write_matrix(a, out)?;
            write_matrix(b, out)?;
        }
        write_count(usize::from(self.per_layer.is_some()), out)?;
        if let Some(matrix) = &self.per_layer {
            write_matrix(matrix, out)?;
        }
        write_count(self.streams.len(), out)?;
        self.streams
            .iter()
            .try_for_each(|stream| write_matrix(stream, out))?;
        write_count(self.chosen.as_ref().map_or(0, |rows| rows.len() + 1), out)?;
        for row in self.chosen.iter().flatten() {
            write_count(row.len(), out)?;
            row.iter().try_for_each(|&at| write_count(at, out))?;
        }
        write_numbers(&self.first_values, out)?;
        write_matrix(&self.other.0, out)?;
        write_count(usize::from(self.other.1), out)
    }

    fn read(from: &mut impl Read) -> std::io::Result<Self> {
        let hidden = read_matrix(from)?;
        let mut kept = <[(Matrix, Matrix); 2]>::default();
        for (a, b) in &mut kept {
            *a = read_matrix(from)?;
            *b = read_matrix(from)?;
        }
        let per_layer = match read_count(from)? {
            0 => None,
            _ => Some(read_matrix(from)?),
        };
        let streams = (0..read_count(from)?)
            .map(|_| read_matrix(from))
            .collect::<std::io::Result<_>>()?;
        let chosen = match read_count(from)? {
            0 => None,
            rows => Some(
                (1..rows)
                    .map(|_| {
                        let count = read_count(from)?;
                        (0..count).map(|_| read_count(from)).collect()
                    })
                    .collect::<std::io::Result<_>>()?,
            ),
        };
        Ok(Self {
            hidden,
            kept,
            per_layer,
            streams,
            chosen,
            first_values: read_numbers(from)?,
            other: (read_matrix(from)?, read_count(from)? != 0),
        })
    }
}

fn write_count(count: usize, out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(&(count as u64).to_le_bytes())
}

fn read_count(from: &mut impl Read) -> std::io::Result<usize> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes) as usize)
}

fn write_numbers(numbers: &[f32], out: &mut impl Write) -> std::io::Result<()> {
    write_count(numbers.len(), out)?;
    numbers.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))
}

fn read_numbers(from: &mut impl Read) -> std::io::Result<Vec<f32>> {
    let count = read_count(from)?;
    let mut bytes = [0; 4];
    (0..count)
        .map(|_| {
            from.read_exact(&mut bytes)?;
            Ok(f32::from_le_bytes(bytes))
        })
        .collect()
}

fn write_matrix(matrix: &Matrix, out: &mut impl Write) -> std::io::Result<()> {
    write_count(matrix.rows, out)?;
    write_count(matrix.cols, out)?;
    write_numbers(&matrix.data, out)
}

fn read_matrix(from: &mut impl Read) -> std::io::Result<Matrix> {
    Ok(Matrix {
        rows: read_count(from)?,
        cols: read_count(from)?,
        data: read_numbers(from)?,
    })
}

/// The states of all batches.
pub(super) enum States {
    Memory(Vec<State>),
    Disk(Disk),
}

/// Two files: the states before a layer, and those behind it as they are made.
pub(super) struct Disk {
    now: StateFile,
    next: StateFile,
}

struct StateFile {
    path: PathBuf,
    file: File,
    /// Where each batch's state begins.
    places: Vec<u64>,
}

impl StateFile {
    fn create(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        match file {
            Ok(file) => Ok(Self {
                path,
                file,
                places: Vec::new(),
            }),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    fn append(&mut self, state: &State) -> Result<()> {
        let write = |file: &mut File| -> std::io::Result<u64> {
            let place = file.seek(SeekFrom::End(0))?;
            let mut out = BufWriter::new(file);
            state.write(&mut out)?;
            out.flush()?;
            Ok(place)
        };
        let place = write(&mut self.file).map_err(|source| self.error(source))?;
        self.places.push(place);
        Ok(())
    }

    fn read(&self, batch: usize) -> Result<State> {
        let read = || -> std::io::Result<State> {
            let mut file = &self.file;
            file.seek(SeekFrom::Start(self.places[batch]))?;
            State::read(&mut BufReader::new(file))
        };
        read().map_err(|source| self.error(source))
    }

    fn clear(&mut self) -> Result<()> {
        self.places.clear();
        self.file.set_len(0).map_err(|source| self.error(source))
    }

    fn error(&self, source: std::io::Error) -> Error {
        Error::io(&self.path, source)
    }
}

impl States {
    /// None yet; in `folder` rather than in memory where one is given.
    pub(super) fn new(folder: Option<&Path>) -> Result<Self> {
        Ok(match folder {
            None => Self::Memory(Vec::new()),
            Some(folder) => Self::Disk(Disk {
                now: StateFile::create(folder.join("states-0"))?,
                next: StateFile::create(folder.join("states-1"))?,
            }),
        })
    }

    /// Adds the state of another batch.
    pub(super) fn add(&mut self, state: State) -> Result<()> {
        match self {
            Self::Memory(states) => states.push(state),
            Self::Disk(disk) => disk.now.append(&state)?,
        }
        Ok(())
    }

    /// A batch's state.
    pub(super) fn get(&self, batch: usize) -> Result<State> {
        match self {
            Self::Memory(states) => Ok(states[batch].clone()),
            Self::Disk(disk) => disk.now.read(batch),
        }
    }

    /// Replaces the states of all batches, in their order, by what `step` makes of each batch.
    pub(super) fn replace(
        &mut self,
        batches: usize,
        step: impl Fn(&Self, usize) -> Result<State>,
    ) -> Result<()> {
        for batch in 0..batches {
            let state = step(self, batch)?;
            match self {
                Self::Memory(states) => states[batch] = state,
                Self::Disk(disk) => disk.next.append(&state)?,
            }
        }
        if let Self::Disk(disk) = self {
            std::mem::swap(&mut disk.now, &mut disk.next);
            disk.next.clear()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(seed: usize) -> State {
        let matrix = |rows: usize, cols: usize| Matrix {
            rows,
            cols,
            data: (0..rows * cols).map(|i| (i * 7 + seed) as f32 / 3.0).collect(),
        };
        State {
            hidden: matrix(3, 5),
            kept: [(matrix(1, 2), matrix(0, 4)), Default::default()],
            per_layer: seed.is_multiple_of(2).then(|| matrix(2, 2)),
            streams: (0..seed % 3).map(|n| matrix(n, 3)).collect(),
            chosen: seed.is_multiple_of(3).then(|| vec![vec![4, seed], Vec::new()]),
            first_values: vec![seed as f32; seed],
            other: (matrix(seed, 2), seed % 2 == 1),
        }
    }

    fn bytes(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        state.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn disk_gives_what_memory_gives() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = States::new(None).unwrap();
        let mut disk = States::new(Some(dir.path())).unwrap();
        for seed in 0..4 {
            memory.add(state(seed)).unwrap();
            disk.add(state(seed)).unwrap();
        }
        for layer in 1..4 {
            for states in [&mut memory, &mut disk] {
                states
                    .replace(4, |states, batch| {
                        let mut state = states.get(batch)?;
                        state.first_values.push(layer as f32);
                        Ok(state)
                    })
                    .unwrap();
            }
            for batch in 0..4 {
                let (a, b) = (memory.get(batch).unwrap(), disk.get(batch).unwrap());
                assert_eq!(bytes(&a), bytes(&b));
                assert_eq!(a.first_values.len(), batch + layer);
            }
        }
        assert!(States::new(Some(dir.path())).is_err(), "the files are there");
    }
}
