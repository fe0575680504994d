//! Measures what `--optimize` is worth: the KL divergence of stock's bytes and of optimized ones from the unquantized
//! model, over the same windows of texts that calibration does not contain.
//!
//! `quality MODEL --calibration FILE --eval NAME=FILE … --presets A,B` (`--help` for the rest). The importance matrix
//! of stock's bytes is of the same windows of the same text that the optimizer learns from. The base model's logits,
//! the matrix, the files and what was measured stay in the work folder, so that another run measures only what is new.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use benches::paired::{Ratio, ratio};
use convert::digest::file_sha256;
use reference::divergence::Observation;
use reference::{Model, Tokenizer};

const HELP: &str = "quality MODEL --calibration FILE --eval NAME=FILE [--eval NAME=FILE …] --presets A,B,…

MODEL is a model directory or a GGUF file that is not quantized.
  --windows N       windows of 512 tokens to calibrate on [48]
  --eval-windows N  windows of 512 tokens to evaluate on, spread evenly over each text; the second half of each is
                    scored [16]
  --threads N       [1]
  --work DIR        folder for what is kept [target/quality]
  --quantsmith FILE the command [beside this program]
  --label NAME      name of the optimized files, in the table and among those that are kept [optimized]
  --again           optimize again, even where a file is there already
  --chosen          measure types chosen at the preset's size, in place of --optimize layer
  -- ARGS           for `quantsmith quantize` of the optimized file, in place of --optimize layer";

/// Tokens in a window.
const CONTEXT: usize = 512;
/// The first position whose prediction is scored, as llama.cpp's perplexity tool does.
const FIRST: usize = CONTEXT / 2;
const SCORED: usize = CONTEXT - FIRST - 1;

struct Options {
    model: PathBuf,
    calibration: PathBuf,
    texts: Vec<(String, PathBuf)>,
    presets: Vec<String>,
    windows: usize,
    eval_windows: usize,
    threads: usize,
    work: PathBuf,
    quantsmith: PathBuf,
    label: String,
    again: bool,
    chosen: bool,
    more: Vec<String>,
}

impl Options {
    fn parse() -> Result<Option<Self>> {
        let beside = std::env::current_exe()?.with_file_name("quantsmith");
        let mut options = Self {
            model: PathBuf::new(),
            calibration: PathBuf::new(),
            texts: Vec::new(),
            presets: Vec::new(),
            windows: 48,
            eval_windows: 16,
            threads: 1,
            work: Path::new("target").join("quality"),
            quantsmith: beside,
            label: "optimized".into(),
            again: false,
            chosen: false,
            more: vec!["--optimize".into(), "layer".into()],
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--help" | "-h" => return Ok(None),
                "--calibration" => options.calibration = value()?.into(),
                "--eval" => {
                    let text = value()?;
                    let (name, file) = text.split_once('=').context("--eval NAME=FILE")?;
                    options.texts.push((name.to_owned(), file.into()));
                }
                "--presets" => options.presets = value()?.split(',').map(str::to_owned).collect(),
                "--windows" => options.windows = value()?.parse()?,
                "--eval-windows" => options.eval_windows = value()?.parse()?,
                "--threads" => options.threads = value()?.parse()?,
                "--work" => options.work = value()?.into(),
                "--quantsmith" => options.quantsmith = value()?.into(),
                "--label" => options.label = value()?,
                "--again" => options.again = true,
                "--chosen" => {
                    options.chosen = true;
                    options.more.clear();
                }
                "--" => options.more = args.by_ref().collect(),
                model if !model.starts_with('-') => options.model = model.into(),
                other => bail!("{other}: unknown option; --help lists them"),
            }
        }
        ensure!(
            options.model.exists(),
            "MODEL: {} not found",
            options.model.display()
        );
        ensure!(!options.texts.is_empty(), "--eval: no text to evaluate on");
        ensure!(!options.presets.is_empty(), "--presets: none given");
        ensure!(options.eval_windows > 1, "--eval-windows: expected at least 2");
        Ok(Some(options))
    }

    fn quantsmith(&self, args: &[&str]) -> Result<()> {
        let status = Command::new(&self.quantsmith)
            .args(args)
            .stdout(std::process::Stdio::null())
            .status()
            .with_context(|| self.quantsmith.display().to_string())?;
        ensure!(status.success(), "quantsmith {} failed", args.join(" "));
        Ok(())
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{}: not UTF-8", path.display()))
}

fn main() -> Result<()> {
    let Some(options) = Options::parse()? else {
        println!("{HELP}");
        return Ok(());
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build_global()?;
    let work = Work::open(&options)?;
    let base = Model::load(&work.base)?;
    let texts = options
        .texts
        .iter()
        .map(|(name, file)| Evaluation::new(name, file, &base, &options, &work))
        .collect::<Result<Vec<_>>>()?;
    let mut table = format!(
        "| preset | text | stock | {} | ratio |\n|---|---|---|---|---|\n",
        options.label
    );
    for preset in &options.presets {
        let (stock, optimized) = work.files(preset, &options)?;
        for text in &texts {
            let (of_stock, of_optimized) = (text.measure(&stock)?, text.measure(&optimized)?);
            let Ratio { value, error } = ratio(&of_optimized, &of_stock, SCORED)?;
            let mean = |klds: &[f64]| klds.iter().sum::<f64>() / klds.len() as f64;
            writeln!(
                table,
                "| {preset} | {} | {:.6} | {:.6} | {value:.3} ± {error:.3} |",
                text.name,
                mean(&of_stock),
                mean(&of_optimized),
            )?;
        }
        eprintln!("{table}");
    }
    println!("{table}");
    println!(
        "Mean KL divergence in nats; {} scored tokens a text; calibrated on {} windows of {CONTEXT}; the error is that of \
         a paired bootstrap over windows.",
        options.eval_windows * SCORED,
        options.windows
    );
    Ok(())
}

/// Results kept between runs.
struct Work {
    folder: PathBuf,
    base: PathBuf,
    matrix: PathBuf,
}

impl Work {
    fn open(options: &Options) -> Result<Self> {
        let name = options.model.file_stem().unwrap_or_default().to_string_lossy();
        let folder = options.work.join(&*name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let base = if options.model.is_dir() {
            let base = folder.join("base.gguf");
            if !base.exists() {
                options.quantsmith(&["convert", text(&options.model)?, text(&base)?])?;
            }
            base
        } else {
            options.model.clone()
        };
        let digest = file_sha256(&options.calibration)?;
        let matrix = folder.join(format!("imatrix-{}-{}.gguf", &digest[..8], options.windows));
        if !matrix.exists() {
            let (windows, threads) = (options.windows.to_string(), options.threads.to_string());
            options.quantsmith(&[
                "imatrix",
                text(&base)?,
                text(&options.calibration)?,
                "-o",
                text(&matrix)?,
                "--chunks",
                &windows,
                "--threads",
                &threads,
            ])?;
        }
        Ok(Self { folder, base, matrix })
    }

    /// Stock's file and the optimized one.
    fn files(&self, preset: &str, options: &Options) -> Result<(PathBuf, PathBuf)> {
        let name = self.matrix.file_stem().unwrap_or_default().to_string_lossy();
        let at = |kind: &str| self.folder.join(format!("{preset}-{kind}-{name}.gguf"));
        let (stock, optimized) = (at("stock"), at(&options.label));
        let threads = options.threads.to_string();
        let common = ["quantize", "--imatrix", text(&self.matrix)?];
        if !stock.exists() {
            let rest = [text(&self.base)?, text(&stock)?, preset, &threads];
            options.quantsmith(&[&common[..], &rest].concat())?;
        }
        if options.again && optimized.exists() {
            std::fs::remove_file(&optimized)?;
        }
        if !optimized.exists() {
            let windows = options.windows.to_string();
            let more: Vec<&str> = options.more.iter().map(String::as_str).collect();
            let costs = self.folder.join(format!("costs-{name}.json"));
            let calibration = text(&options.calibration)?;
            let learned = ["--optimize-text", calibration, "--optimize-chunks", &windows];
            let chosen = [
                "--same-size-as",
                preset,
                "--sensitivity",
                text(&costs)?,
                "--sensitivity-text",
                calibration,
                "--sensitivity-chunks",
                &windows,
                "--check-chunks",
                "0",
            ];
            let learns = more.iter().any(|arg| ["layer", "loss"].contains(arg));
            let texts: Vec<&str> = [(learns, &learned[..]), (options.chosen, &chosen)]
                .into_iter()
                .filter(|(wanted, _)| *wanted)
                .flat_map(|(_, args)| args)
                .copied()
                .collect();
            let rest = [text(&self.base)?, text(&optimized)?, preset, &threads];
            options.quantsmith(&[&common[..], &more, &texts, &rest].concat())?;
        }
        let size = |path: &Path| -> Result<u64> {
            let model = gguf::GgufModel::open(path)?;
            Ok(model.tensors().map(|t| t.info.size_bytes()).sum())
        };
        let sizes = (size(&stock)?, size(&optimized)?);
        ensure!(
            sizes.0 == sizes.1 || options.chosen && sizes.1 < sizes.0,
            "{preset}: {} bytes of tensors, expected {}",
            sizes.1,
            sizes.0
        );
        Ok((stock, optimized))
    }
}

/// A text to evaluate on, and the unquantized model's logits over it.
struct Evaluation<'a> {
    name: &'a str,
    windows: Vec<Vec<u32>>,
    vocabulary: usize,
    /// The logits, in f32.
    logits: PathBuf,
    /// Names what is measured over these windows.
    key: String,
    folder: &'a Path,
}

impl<'a> Evaluation<'a> {
    fn new(name: &'a str, file: &Path, base: &Model, options: &Options, work: &'a Work) -> Result<Self> {
        let tokenizer = Tokenizer::from_metadata(base.gguf().metadata())?;
        let written = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let tokens = tokenizer.encode(&written, true, false);
        let available = tokens.len() / CONTEXT;
        let count = options.eval_windows;
        ensure!(
            available >= count,
            "{}: expected at least {count} windows of {CONTEXT} tokens, found {available}",
            file.display()
        );
        let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
        let windows: Vec<Vec<u32>> = (0..count)
            .map(|i| {
                let first = i * available / count * CONTEXT;
                let mut window = tokens[first..first + CONTEXT].to_vec();
                window[0] = bos.unwrap_or(window[0]);
                window
            })
            .collect();
        let key = format!("{name}-{}", &optimize::digest(&windows)[..12]);
        let logits = work.folder.join(format!("{key}.logits"));
        let this = Self {
            name,
            windows,
            vocabulary: base.vocabulary(),
            logits,
            key,
            folder: &work.folder,
        };
        if !this.logits.exists() {
            this.run_base(base)?;
        }
        Ok(this)
    }

    fn run_base(&self, base: &Model) -> Result<()> {
        let partial = self.logits.with_extension("partial");
        let mut out = std::io::BufWriter::new(std::fs::File::create(&partial)?);
        for window in &self.windows {
            let logits = base.forward(&[window], FIRST..CONTEXT - 1, None)?;
            for x in &logits.data {
                out.write_all(&x.to_le_bytes())?;
            }
        }
        out.into_inner()?.sync_all()?;
        Ok(std::fs::rename(&partial, &self.logits)?)
    }

    /// The divergence at every scored position.
    fn measure(&self, file: &Path) -> Result<Vec<f64>> {
        let digest = file_sha256(file)?;
        let kept = self.folder.join(format!("{}-{}.kld", self.key, &digest[..16]));
        if kept.exists() {
            let bytes = std::fs::read(&kept)?;
            return Ok(bytes
                .as_chunks()
                .0
                .iter()
                .map(|x| f64::from_le_bytes(*x))
                .collect());
        }
        let model = Model::load(file)?;
        let mut logits = std::io::BufReader::new(std::fs::File::open(&self.logits)?);
        let mut base = vec![0.0; self.vocabulary];
        let mut bytes = vec![0; 4 * self.vocabulary];
        let mut klds = Vec::with_capacity(self.windows.len() * SCORED);
        for window in &self.windows {
            let measured = model.forward(&[window], FIRST..CONTEXT - 1, None)?;
            for row in 0..measured.rows {
                logits.read_exact(&mut bytes)?;
                for (x, bytes) in base.iter_mut().zip(bytes.as_chunks().0) {
                    *x = f32::from_le_bytes(*bytes);
                }
                let target = window[FIRST + 1 + row] as usize;
                let seen = Observation::from_logits(&base, measured.row(row), target);
                klds.push(seen.context("a token outside of the vocabulary")?.kld);
            }
        }
        let bytes: Vec<u8> = klds.iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
        std::fs::write(&kept, bytes)?;
        Ok(klds)
    }
}
