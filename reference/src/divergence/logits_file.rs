//! The logits file of llama.cpp's perplexity tool: every scored position's log probabilities in 16 bits.
//!
//! Layout, little endian: `_logits_`, u32 context length, i32 vocabulary size, i32 number of chunks, i32
//! tokens of all chunks, then for each chunk and each scored position (`context − 1 − context/2` of them)
//! a row: f32 scale, f32 smallest log probability, u16 codes padded to an even number.
//! A log probability is `scale · code + smallest`; logits are clipped at 16 below the largest.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use gguf::WholeFile;

use crate::perplexity::scored_tokens;
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"_logits_";
/// Longest context that is believed.
const MAX_CONTEXT: u32 = 1 << 24;
/// Largest vocabulary that is believed.
const MAX_VOCABULARY: i32 = 1 << 24;

/// Log probabilities of one position, as stored.
#[derive(Clone, Copy, Debug)]
pub struct CompressedRow<'a> {
    scale: f32,
    smallest: f32,
    codes: &'a [u16],
}

impl CompressedRow<'_> {
    /// Vocabulary size.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether the vocabulary is empty.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Log probability of a token, in nats.
    pub fn log_prob(&self, token: usize) -> f64 {
        // In f32 first: that is the value that the tool which wrote the file works with.
        f64::from(self.scale * f32::from(self.codes[token]) + self.smallest)
    }
}

/// Writes a logits file row by row.
pub struct LogitsWriter {
    path: PathBuf,
    out: BufWriter<WholeFile>,
    vocabulary: usize,
    rows_left: usize,
}

impl LogitsWriter {
    /// Starts a file for `tokens` (whole windows of `context` tokens each).
    ///
    /// # Errors
    /// When the file cannot be written, or `tokens` are not whole windows.
    pub fn create(path: &Path, context: usize, vocabulary: usize, tokens: &[u32]) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let fits = context > 1 && tokens.len().is_multiple_of(context);
        let (Ok(n_ctx), Ok(n_vocab), true) = (u32::try_from(context), i32::try_from(vocabulary), fits) else {
            return Err(malformed(
                path,
                "the tokens are not whole windows of the context length",
            ));
        };
        let chunks = tokens.len() / context;
        let mut out = BufWriter::with_capacity(1 << 20, WholeFile::open(path)?);
        let rows = (chunks * scored_tokens(context)) as u64;
        let row = 8 + 2 * (vocabulary as u64).next_multiple_of(2);
        gguf::check_space(
            path,
            rows.saturating_mul(row).saturating_add(4 * tokens.len() as u64),
        )?;
        out.write_all(MAGIC).map_err(io)?;
        out.write_all(&n_ctx.to_le_bytes()).map_err(io)?;
        out.write_all(&n_vocab.to_le_bytes()).map_err(io)?;
        out.write_all(&(chunks as i32).to_le_bytes()).map_err(io)?;
        for &t in tokens {
            out.write_all(&t.to_le_bytes()).map_err(io)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            out,
            vocabulary,
            rows_left: chunks * scored_tokens(context),
        })
    }

    /// Appends the logits (`[vocabulary]`) of the next scored position.
    ///
    /// # Errors
    /// When the file cannot be written, the row has another length, or there are more rows than declared.
    pub fn push(&mut self, logits: &[f32]) -> Result<()> {
        if logits.len() != self.vocabulary || self.rows_left == 0 {
            return Err(malformed(&self.path, "a row that does not belong to this file"));
        }
        self.rows_left -= 1;
        let mut row = Vec::with_capacity(8 + 2 * (logits.len() + 1));
        compress(logits, &mut row);
        self.out
            .write_all(&row)
            .map_err(|source| Error::io(&self.path, source))
    }

    /// Gives the file its name. Before, there is nothing but a temporary file beside it.
    ///
    /// # Errors
    /// When rows are missing or the file cannot be written.
    pub fn finish(self) -> Result<()> {
        if self.rows_left > 0 {
            return Err(malformed(
                &self.path,
                &format!("{} rows were not written", self.rows_left),
            ));
        }
        let file = self
            .out
            .into_inner()
            .map_err(|e| Error::io(self.path, e.into_error()))?;
        Ok(file.finish()?)
    }
}

fn compress(logits: &[f32], row: &mut Vec<u8>) {
    let (max, min) = logits
        .iter()
        .fold((f32::MIN, f32::MAX), |(hi, lo), &x| (hi.max(x), lo.min(x)));
    let min = min.max(max - 16.0);
    let sum: f64 = logits.iter().map(|&x| f64::from((x - max).exp())).sum();
    let log_sum = sum.ln() as f32;
    let scale = (max - min) / 65535.0;
    row.extend(scale.to_le_bytes());
    row.extend((min - max - log_sum).to_le_bytes());
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for &x in logits {
        let code = if x > min {
            (inverse * (x - min)).round_ties_even() as u16
        } else {
            0
        };
        row.extend(code.to_le_bytes());
    }
    if logits.len() % 2 == 1 {
        row.extend([0, 0]);
    }
}

/// Reads a logits file, one window at a time.
#[derive(Debug)]
pub struct LogitsReader {
    path: PathBuf,
    input: BufReader<File>,
    context: usize,
    vocabulary: usize,
    tokens: Vec<u32>,
    window: Vec<u8>,
    codes: Vec<u16>,
}

impl LogitsReader {
    /// Opens a file and checks its header against its size.
    ///
    /// # Errors
    /// When the file cannot be read, is no logits file, or is shorter than its header says.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut input = BufReader::with_capacity(1 << 20, file);
        let mut header = [0u8; 20];
        input
            .read_exact(&mut header)
            .map_err(|_| malformed(path, "shorter than a header of 20 bytes"))?;
        if &header[..8] != MAGIC {
            return Err(malformed(
                path,
                "not a file of log probabilities (it does not start with _logits_)",
            ));
        }
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let context = u32::from_le_bytes(word(8));
        let vocabulary = i32::from_le_bytes(word(12));
        let chunks = i32::from_le_bytes(word(16));
        if !(2..=MAX_CONTEXT).contains(&context) || !(1..=MAX_VOCABULARY).contains(&vocabulary) || chunks < 1
        {
            return Err(malformed(
                path,
                &format!("impossible header: context {context}, vocabulary {vocabulary}, chunks {chunks}"),
            ));
        }
        let (context, vocabulary, chunks) = (context as usize, vocabulary as usize, chunks as usize);
        // Each factor is bounded; their product is not, so it is taken in a wider type.
        let of_window = context as u128 * 4 + scored_tokens(context) as u128 * row_bytes(vocabulary) as u128;
        let expected = 20 + chunks as u128 * of_window;
        if u128::from(length) < expected {
            return Err(malformed(
                path,
                &format!("{length} bytes long, but its header declares {expected}"),
            ));
        }
        let mut bytes = vec![0u8; chunks * context * 4];
        input.read_exact(&mut bytes).map_err(io)?;
        let tokens: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        if let Some(bad) = tokens.iter().find(|&&t| t as usize >= vocabulary) {
            return Err(malformed(
                path,
                &format!("token {bad} in a vocabulary of {vocabulary}"),
            ));
        }
        Ok(Self {
            path: path.to_path_buf(),
            input,
            context,
            vocabulary,
            tokens,
            window: vec![],
            codes: vec![],
        })
    }

    /// Tokens in a window.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Vocabulary size.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The evaluated tokens, all windows one after another.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Reads the rows of the next window.
    ///
    /// # Errors
    /// When the file ends or cannot be read.
    pub fn next_window(&mut self) -> Result<Vec<CompressedRow<'_>>> {
        let (rows, row_len) = (scored_tokens(self.context), row_bytes(self.vocabulary));
        self.window.resize(rows * row_len, 0);
        self.input
            .read_exact(&mut self.window)
            .map_err(|source| Error::io(&self.path, source))?;
        let per_row = (row_len - 8) / 2;
        self.codes.clear();
        for row in self.window.chunks_exact(row_len) {
            self.codes
                .extend(row[8..].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])));
        }
        Ok(self
            .window
            .chunks_exact(row_len)
            .zip(self.codes.chunks_exact(per_row))
            .map(|(row, codes)| CompressedRow {
                scale: f32::from_le_bytes([row[0], row[1], row[2], row[3]]),
                smallest: f32::from_le_bytes([row[4], row[5], row[6], row[7]]),
                codes: &codes[..self.vocabulary],
            })
            .collect())
    }
}

fn row_bytes(vocabulary: usize) -> usize {
    8 + 2 * vocabulary.next_multiple_of(2)
}

fn malformed(path: &Path, message: &str) -> Error {
    Error::Model {
        path: path.to_path_buf(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_to_sixteen_bits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logits");
        let tokens = [1, 2, 0, 1, 2, 2, 1, 0];
        let rows: Vec<Vec<f32>> = (0..2).map(|i| vec![0.5 * i as f32, 2.0, -40.0]).collect();
        let mut writer = LogitsWriter::create(&path, 4, 3, &tokens).unwrap();
        for row in &rows {
            writer.push(row).unwrap();
        }
        assert!(writer.push(&rows[0]).is_err());
        writer.finish().unwrap();
        let mut reader = LogitsReader::open(&path).unwrap();
        assert_eq!(
            (reader.context(), reader.vocabulary(), reader.tokens()),
            (4, 3, &tokens[..])
        );
        for row in &rows {
            let window = reader.next_window().unwrap();
            let log_z = f64::from(row[0]).exp() + f64::from(row[1]).exp();
            assert_eq!(window.len(), 1);
            assert!((window[0].log_prob(0) - (f64::from(row[0]) - log_z.ln())).abs() < 3e-4);
            assert!((window[0].log_prob(2) - (2.0 - 16.0 - log_z.ln())).abs() < 1e-5);
        }
        assert!(reader.next_window().is_err());
    }

    #[test]
    fn a_file_that_is_not_finished_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logits");
        std::fs::write(&path, "what was there").unwrap();
        let mut writer = LogitsWriter::create(&path, 4, 3, &[0, 1, 2, 0]).unwrap();
        writer.push(&[1.0, 2.0, 3.0]).unwrap();
        drop(writer);
        assert_eq!(std::fs::read(&path).unwrap(), b"what was there");
        let mut writer = LogitsWriter::create(&path, 4, 3, &[0, 1, 2, 0]).unwrap();
        writer.push(&[1.0, 2.0, 3.0]).unwrap();
        writer.finish().unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(MAGIC));
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn lying_headers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logits");
        let header = |context: u32, vocabulary: i32, chunks: i32| {
            let mut b = MAGIC.to_vec();
            b.extend(context.to_le_bytes());
            b.extend(vocabulary.to_le_bytes());
            b.extend(chunks.to_le_bytes());
            b
        };
        for bytes in [
            b"_logits".to_vec(),
            b"something else, long enough".to_vec(),
            header(512, 100, 1),
            header(512, i32::MAX, i32::MAX),
            header(u32::MAX, 1, i32::MAX),
            header(0, 1, 1),
            header(512, -1, 1),
            // Products that wrap around 2^64, some of them to a small number.
            header(1 << 24, 1 << 24, i32::MAX),
            header(1 << 24, (1 << 24) - 2, 1 << 18),
            header(1 << 22, 1 << 23, 1 << 20),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert!(LogitsReader::open(&path).is_err());
        }
    }
}
