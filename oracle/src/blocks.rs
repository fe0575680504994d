//! Blocks: ours against those of two builds of ggml, and decoded values against ggml's and numpy's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use gguf::TensorType;
use quants::Isa;
use serde_json::{Value, json};

use crate::Python;
use crate::rows::{Kind, Random};

/// A process that encodes, decodes and checks blocks with the references.
#[derive(Debug)]
pub struct Reference {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

/// The references' encodings of rows.
#[derive(Debug)]
pub struct Encoded {
    /// Stock llama.cpp's blocks.
    pub stock: Vec<u8>,
    /// libgguf's blocks, for the types that it has.
    pub libgguf: Option<Vec<u8>>,
    /// The decoding of stock's blocks.
    pub decoded: Decoded,
    /// Time of the stock encoder, in seconds.
    pub seconds: f64,
}

/// The references' decodings of blocks.
#[derive(Debug)]
pub struct Decoded {
    /// Stock llama.cpp's values.
    pub stock: Vec<f32>,
    /// The values of the decoder in numpy, for the types that it has.
    pub numpy: Option<Vec<f32>>,
    /// Time of the stock decoder, in seconds.
    pub seconds: f64,
}

/// Kinds of work that can be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Encoding with an importance vector.
    EncodeWithImportance,
    /// Encoding without.
    Encode,
    /// Decoding.
    Decode,
}

/// Seconds that the references took for one call, the shortest of several.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// Stock llama.cpp's library.
    pub stock: f64,
    /// libgguf's build, for the encoders that it has.
    pub libgguf: Option<f64>,
}

impl Reference {
    /// Starts the process.
    pub fn start(python: &Python) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/blocks.py");
        let mut child = Command::new(python.executable())
            .arg(script)
            .arg(dir.path())
            .env("ORACLE_CACHE", crate::home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().context("no pipe to the reference")?;
        let answers = child.stdout.take().context("no pipe from the reference")?;
        Ok(Self {
            child,
            requests,
            answers: BufReader::new(answers),
            dir,
        })
    }

    /// Whether the process has died, as it does where ggml aborts.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}")?;
        self.requests.flush()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the reference ended: {}", self.child.wait()?);
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn write_floats(&self, name: &str, values: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Ok(std::fs::write(self.dir.path().join(name), bytes)?)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.dir.path().join(name))?)
    }

    fn read_floats(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.read(name)?;
        let values = bytes.as_chunks().0.iter();
        Ok(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn read_decoded(&self, answer: &Value) -> Result<Decoded> {
        Ok(Decoded {
            stock: self.read_floats("stock.f32")?,
            numpy: match answer["numpy"].as_bool() {
                Some(true) => Some(self.read_floats("numpy.f32")?),
                _ => None,
            },
            seconds: answer["decode_seconds"].as_f64().unwrap_or_default(),
        })
    }

    /// Encodes rows, and decodes the blocks.
    pub fn encode(
        &mut self,
        ty: TensorType,
        rows: &[f32],
        row_len: usize,
        importance: Option<&[f32]>,
    ) -> Result<Encoded> {
        self.write_floats("rows.f32", rows)?;
        if let Some(importance) = importance {
            self.write_floats("importance.f32", importance)?;
        }
        let answer = self.ask(&json!({
            "op": "encode", "type": ty.id(), "rows": rows.len() / row_len, "row_len": row_len,
            "importance": importance.is_some(),
        }))?;
        Ok(Encoded {
            stock: self.read("stock.bin")?,
            libgguf: match answer["libgguf"].as_bool() {
                Some(true) => Some(self.read("libgguf.bin")?),
                _ => None,
            },
            decoded: self.read_decoded(&answer)?,
            seconds: answer["seconds"].as_f64().unwrap_or_default(),
        })
    }

    /// Times the references at encoding these rows, or decoding these blocks, for `limit` each.
    #[allow(clippy::too_many_arguments, reason = "the job is this wide")]
    pub fn time(
        &mut self,
        ty: TensorType,
        work: Work,
        rows: &[f32],
        row_len: usize,
        importance: &[f32],
        blocks: &[u8],
        limit: std::time::Duration,
    ) -> Result<Timed> {
        match work {
            Work::Decode => std::fs::write(self.dir.path().join("blocks.bin"), blocks)?,
            _ => self.write_floats("rows.f32", rows)?,
        }
        self.write_floats("importance.f32", importance)?;
        let answer = self.ask(&json!({
            "op": "time", "type": ty.id(), "rows": rows.len() / row_len, "row_len": row_len,
            "work": if work == Work::Decode { "decode" } else { "encode" },
            "importance": work == Work::EncodeWithImportance, "seconds": limit.as_secs_f64(),
        }))?;
        Ok(Timed {
            stock: answer["stock"].as_f64().context("no time")?,
            libgguf: answer["libgguf"].as_f64(),
        })
    }

    /// Decodes blocks.
    pub fn decode(&mut self, ty: TensorType, blocks: &[u8]) -> Result<Decoded> {
        std::fs::write(self.dir.path().join("blocks.bin"), blocks)?;
        let answer = self.ask(&json!({ "op": "decode", "type": ty.id() }))?;
        self.read_decoded(&answer)
    }

    /// ggml's verdict on blocks when it loads them.
    pub fn validate(&mut self, ty: TensorType, blocks: &[u8]) -> Result<Vec<bool>> {
        std::fs::write(self.dir.path().join("blocks.bin"), blocks)?;
        self.ask(&json!({ "op": "validate", "type": ty.id() }))?;
        Ok(self.read("valid.bin")?.iter().map(|ok| *ok != 0).collect())
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It ends by itself at the end of its input; a failed run must not leave it behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every type that can be encoded.
pub fn encodable() -> impl Iterator<Item = TensorType> {
    let types = gguf::TYPES.iter().map(|info| info.ty);
    types.filter(|ty| quants::can_encode(*ty))
}

/// The length of the rows to compare: a few blocks, so that what depends on the whole row shows.
pub fn row_len(ty: TensorType) -> usize {
    match ty.block_len() {
        1 => 96,
        block_len => 3 * block_len,
    }
}

/// Result of a comparison: equal blocks, and the time of each side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Weights whose blocks were compared.
    pub weights: usize,
    /// Those of them that libgguf encoded, too.
    pub libgguf: usize,
    /// Those of them that the decoder in numpy decoded, too.
    pub numpy: usize,
    /// Seconds in the stock encoder.
    pub stock_seconds: f64,
    /// Seconds in ours (the last instruction set's).
    pub seconds: f64,
    /// Seconds in the stock decoder.
    pub stock_decode_seconds: f64,
    /// Seconds in our decoder (the last instruction set's).
    pub decode_seconds: f64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.weights += other.weights;
        self.libgguf += other.libgguf;
        self.numpy += other.numpy;
        self.stock_seconds += other.stock_seconds;
        self.seconds += other.seconds;
        self.stock_decode_seconds += other.stock_decode_seconds;
        self.decode_seconds += other.decode_seconds;
    }
}

/// Encodes rows of one kind with every instruction set of this machine and with the references, and
/// decodes the blocks; any difference is an error that names it.
pub fn compare(
    reference: &mut Reference,
    ty: TensorType,
    rows: usize,
    kind: &Kind,
    importance: Option<&Kind>,
    seed: u64,
) -> Result<Tally> {
    let row_len = row_len(ty);
    let mut random = Random::new(seed);
    let mut weights = vec![0.0; rows * row_len];
    for row in weights.chunks_exact_mut(row_len) {
        (kind.fill)(&mut random, row);
    }
    let importance_row = importance.map(|kind| {
        let mut row = vec![0.0; row_len];
        (kind.fill)(&mut random, &mut row);
        row
    });
    let case = || {
        let importance = importance.map_or("no importance", |kind| kind.name);
        format!("{ty}, {} rows, {importance}, seed {seed}", kind.name)
    };
    let expected = reference
        .encode(ty, &weights, row_len, importance_row.as_deref())
        .with_context(case)?;
    if let Some(libgguf) = &expected.libgguf
        && let Some(at) = first_difference(libgguf, &expected.stock)
    {
        bail!("{}: the references themselves differ at byte {at}", case());
    }
    let mut tally = Tally {
        weights: weights.len(),
        libgguf: expected.libgguf.as_ref().map_or(0, |_| weights.len()),
        numpy: expected.decoded.numpy.as_ref().map_or(0, |_| weights.len()),
        stock_seconds: expected.seconds,
        stock_decode_seconds: expected.decoded.seconds,
        ..Tally::default()
    };
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let mut blocks = vec![0xa5; expected.stock.len()];
        let start = Instant::now();
        quants::encode_with(isa, ty, &weights, row_len, importance_row.as_deref(), &mut blocks)?;
        tally.seconds = start.elapsed().as_secs_f64();
        if let Some(at) = first_difference(&blocks, &expected.stock) {
            let block = at / ty.block_bytes();
            let bytes = block * ty.block_bytes()..(block + 1) * ty.block_bytes();
            bail!(
                "{}: {} differs in block {block} at its byte {}:\n  ours  {:02x?}\n  stock {:02x?}\n  weights {:?}",
                case(),
                isa.name(),
                at % ty.block_bytes(),
                &blocks[bytes.clone()],
                &expected.stock[bytes],
                &weights[block * ty.block_len()..][..ty.block_len()],
            );
        }
        tally.decode_seconds =
            check_decoded(isa, ty, &expected.stock, &expected.decoded).with_context(case)?;
    }
    Ok(tally)
}

/// Decodes blocks and compares with the references; returns how long it took.
fn check_decoded(isa: Isa, ty: TensorType, blocks: &[u8], expected: &Decoded) -> Result<f64> {
    let mut values = vec![0.0; expected.stock.len()];
    let start = Instant::now();
    quants::decode_with(isa, ty, blocks, &mut values)?;
    let seconds = start.elapsed().as_secs_f64();
    let references = [
        ("stock", Some(&expected.stock)),
        ("numpy", expected.numpy.as_ref()),
    ];
    for (name, reference) in references {
        let Some(reference) = reference else { continue };
        let differs = |(ours, theirs): (&f32, &f32)| {
            ours.to_bits() != theirs.to_bits() && !(ours.is_nan() && theirs.is_nan())
        };
        if values.len() != reference.len() {
            bail!("{name} decodes {} values, not {}", reference.len(), values.len());
        }
        if let Some(at) = values.iter().zip(reference).position(differs) {
            bail!(
                "{} decodes value {at} of {ty} as {:e}, {name} as {:e}",
                isa.name(),
                values[at],
                reference[at]
            );
        }
    }
    Ok(seconds)
}

/// Decodes and checks blocks of random bytes; any difference is an error that names it.
pub fn compare_random_blocks(
    reference: &mut Reference,
    ty: TensorType,
    blocks: usize,
    seed: u64,
) -> Result<()> {
    let mut random = Random::new(seed);
    let mut bytes: Vec<u8> = (0..blocks * ty.block_bytes())
        .map(|_| random.bits() as u8)
        .collect();
    // Every other block gets bytes that are often all ones or zero, where the special values are.
    for block in bytes.chunks_exact_mut(ty.block_bytes()).step_by(2) {
        for byte in block.iter_mut() {
            *byte |= [0x00, 0x7c, 0x7f, 0x80, 0xff][random.below(5)];
        }
    }
    let valid = reference.validate(ty, &bytes)?;
    for (at, (block, valid)) in bytes.chunks_exact(ty.block_bytes()).zip(valid).enumerate() {
        let ours = quants::validate(ty, block);
        if ours.is_ok() != valid {
            bail!("{ty}: block {at} {block:02x?}: ggml accepts it: {valid}, we: {ours:?}");
        }
    }
    let expected = reference.decode(ty, &bytes)?;
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        check_decoded(isa, ty, &bytes, &expected).with_context(|| format!("{ty}, random bytes"))?;
    }
    Ok(())
}

fn first_difference(ours: &[u8], theirs: &[u8]) -> Option<usize> {
    if ours.len() != theirs.len() {
        return Some(ours.len().min(theirs.len()));
    }
    ours.iter().zip(theirs).position(|(a, b)| a != b)
}
