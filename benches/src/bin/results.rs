//! Measures what `benches/RESULTS.md` reports and writes it: `results [--no-stock] [codecs] [table] [forward]`
//!
//! Without names, all parts are measured. A part that is not measured keeps its text. `--model F16.gguf` and
//! `--imatrix FILE` take another model than the testbed, and a matrix that was calibrated; `--no-stock` leaves
//! out the runs of stock llama.cpp over whole files. `--llama-perplexity PROGRAM` compares the forward pass with that
//! program, which is fairer to stock than its library called from Python.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use benches::codecs::{Samples, is_streaming, ours, theirs, works};
use benches::models;
use gguf::TensorType as T;
use oracle::blocks::{Reference, Work};
use quants::Isa;

const PARTS: [&str; 3] = ["codecs", "table", "forward"];
/// The memory bound of the table pass.
const BOUND: &str = "256MiB";
/// Windows after which a run of the forward pass is timed, and until which.
const WINDOWS: [u32; 2] = [2, 10];
/// Rounds of all codec measurements; the best of each counts, since others use the machine too.
const ROUNDS: usize = 3;
/// Rounds of the forward pass; the median counts.
const FORWARD_ROUNDS: usize = 3;

/// Types on which the forward pass is measured, and the targets in multiples of stock's speed.
const FORWARD: [(&str, f64); 9] = [
    ("F16", 1.2),
    ("Q8_0", 2.5),
    ("Q6_K", 2.5),
    ("Q4_K_M", 2.5),
    ("Q3_K_M", 2.5),
    ("Q2_K", 2.5),
    ("IQ4_XS", 3.0),
    ("IQ3_S", 3.0),
    ("IQ2_XS", 3.0),
];

struct Options {
    stock: bool,
    model: Option<PathBuf>,
    imatrix: Option<PathBuf>,
    llama_perplexity: Option<PathBuf>,
    parts: Vec<String>,
}

fn main() -> Result<()> {
    let mut options = Options {
        stock: true,
        model: None,
        imatrix: None,
        llama_perplexity: None,
        parts: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--no-stock" => options.stock = false,
            "--model" => options.model = Some(args.next().context("--model FILE")?.into()),
            "--imatrix" => options.imatrix = Some(args.next().context("--imatrix FILE")?.into()),
            "--llama-perplexity" => {
                options.llama_perplexity = Some(args.next().context("--llama-perplexity PROGRAM")?.into());
            }
            part if PARTS.contains(&part) => options.parts.push(part.to_owned()),
            other => bail!("{other} is none of {PARTS:?}"),
        }
    }
    if options.parts.is_empty() {
        options.parts = PARTS.map(str::to_owned).to_vec();
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
    let mut texts = kept(&std::fs::read_to_string(&page).unwrap_or_default());
    for part in &options.parts {
        let body = match part.as_str() {
            "codecs" => codecs()?,
            "table" => table(&options)?,
            _ => forward(&options)?,
        };
        texts.insert(part.clone(), format!("{}\n\n{body}", machine()?));
    }
    let mut text = String::from(HEAD);
    for part in PARTS {
        if let Some(body) = texts.get(part) {
            write!(text, "\n<!-- {part} -->\n{}\n", body.trim_end())?;
        }
    }
    std::fs::write(&page, text)?;
    println!("{}", page.display());
    Ok(())
}

const HEAD: &str = "# Measurements

`benches/run` measures all of this and writes this page; `benches/run codecs`, `table` and `forward` measure a
part. `cargo bench -p quantsmith-benches` has the same work, and the container's, under criterion. Stock is
llama.cpp's own library (see `oracle/py/stock.py`), measured in the same run on the same data.
";

/// The texts of the parts of an earlier page.
fn kept(page: &str) -> BTreeMap<String, String> {
    page.split("\n<!-- ")
        .skip(1)
        .filter_map(|part| part.split_once(" -->\n"))
        .map(|(name, body)| (name.to_owned(), body.to_owned()))
        .collect()
}

fn machine() -> Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let date = Command::new("date").args(["-u", "+%F"]).output()?;
    Ok(format!(
        "{}: {} threads of {}, kernels for {}, load average at the end {}.",
        String::from_utf8_lossy(&date.stdout).trim(),
        threads(),
        model.map_or("an unknown processor", |(_, model)| model),
        Isa::active().name(),
        load.split(' ').next().unwrap_or("unknown"),
    ))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Required speed of a kind of work.
enum Target {
    /// So many times as fast as stock.
    Ratio(f64),
    /// This share of the speed of a memory copy, or so many times as fast as stock.
    Copy(f64, f64),
}

fn target(ty: T, work: Work) -> Target {
    match work {
        Work::Decode => Target::Copy(0.6, 3.0),
        _ if is_streaming(ty, work) => Target::Copy(0.5, f64::INFINITY),
        Work::Encode if matches!(ty, T::Q2_K | T::Q3_K | T::Q4_K | T::Q5_K | T::Q6_K) => Target::Ratio(8.0),
        _ => Target::Ratio(match ty {
            T::Q2_K | T::Q4_K | T::Q5_K | T::Q4_1 | T::Q5_1 => 10.0,
            T::Q3_K | T::Q6_K | T::Q4_0 | T::Q5_0 | T::IQ4_NL | T::IQ4_XS => 6.0,
            _ => 5.0,
        }),
    }
}

/// Speeds at some work, in millions of weights a second.
#[derive(Default)]
struct Row {
    ours: f64,
    scalar: f64,
    stock: f64,
    /// Zero where it does not have the work.
    libgguf: f64,
}

fn codecs() -> Result<String> {
    let limit = Duration::from_millis(70);
    let samples = Samples::default();
    let mut reference = Reference::start(&oracle::python().context("no references")?)?;
    let mut copy: f64 = 0.0;
    let mut rows: Vec<(T, Work, Row)> = oracle::blocks::encodable()
        .flat_map(|ty| works(ty).map(move |work| (ty, work, Row::default())))
        .filter(|(ty, work, _)| {
            *work != Work::EncodeWithImportance || !benches::codecs::takes_no_importance(*ty)
        })
        .collect();
    for _ in 0..ROUNDS {
        copy = copy.max(benches::copy_speed(5 * limit));
        for (ty, work, row) in &mut rows {
            let (stock, libgguf) = theirs(&mut reference, *ty, *work, &samples, limit)?;
            row.stock = row.stock.max(stock);
            row.libgguf = row.libgguf.max(libgguf.unwrap_or(0.0));
            row.ours = row.ours.max(ours(Isa::active(), *ty, *work, &samples, limit)?);
            row.scalar = row.scalar.max(ours(Isa::Scalar, *ty, *work, &samples, limit)?);
        }
    }
    let mut text = format!(
        "## Encoders and decoders\n\nMillions of weights a second on one core, by processor time; the shortest of \
         several calls in {ROUNDS} rounds. A memory copy moves {copy:.0} million f32 a second. Work that memory \
         limits is measured on buffers that no cache holds. The target is a multiple of stock's speed, or a share of \
         the copy's (for decoders either).\n\n| type | work | ours | scalar | stock | libgguf | ours / stock \
         | ours / copy | target | |\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (ty, work, row) in rows {
        let name = match work {
            Work::EncodeWithImportance => "encode, importance",
            Work::Encode => "encode",
            Work::Decode => "decode",
        };
        let (ratio, share) = (row.ours / row.stock, row.ours / copy);
        let (target, met) = match target(ty, work) {
            Target::Ratio(target) => (format!("{target}×"), ratio >= target),
            Target::Copy(target, other) => {
                let or = if other.is_finite() {
                    format!(" or {other}×")
                } else {
                    String::new()
                };
                (
                    format!("{:.0} %{or}", 100.0 * target),
                    share >= target || ratio >= other,
                )
            }
        };
        let libgguf = match row.libgguf {
            0.0 => String::new(),
            speed => format!("{speed:.1}"),
        };
        writeln!(
            text,
            "| {ty} | {name} | {:.1} | {:.1} | {:.1} | {libgguf} | {ratio:.1}× | {:.0} % | {target} | {} |",
            row.ours,
            row.scalar,
            row.stock,
            100.0 * share,
            if met { "✓" } else { "short" },
        )?;
    }
    Ok(text)
}

/// Our command, built beside this one.
fn quantsmith() -> Result<Command> {
    let path = std::env::current_exe()?.with_file_name("quantsmith");
    if !path.exists() {
        bail!("{} is missing: cargo build --release", path.display());
    }
    Ok(Command::new(path))
}

/// The model to measure with, and its importance matrix.
fn inputs(options: &Options) -> Result<(PathBuf, PathBuf)> {
    let dir = oracle::home().join("benches");
    std::fs::create_dir_all(&dir)?;
    let model = match &options.model {
        Some(model) => model.clone(),
        None => {
            let path = dir.join("testbed-768-F16.gguf");
            if !path.exists() {
                let source = oracle::testbed(768).context("no testbed")?;
                run(quantsmith()?
                    .arg("convert")
                    .arg(source)
                    .arg(&path)
                    .args(["--outtype", "f16"]))?;
            }
            path
        }
    };
    let imatrix = match &options.imatrix {
        Some(imatrix) => imatrix.clone(),
        None => {
            let path = dir.join("imatrix.gguf");
            models::importance_of(&model)?.save(&path)?;
            path
        }
    };
    Ok((model, imatrix))
}

/// Time and memory of a run.
struct Run {
    seconds: f64,
    /// The most anonymous memory that was seen, in bytes.
    peak: u64,
}

/// Runs a command to its end and watches its memory.
fn run(command: &mut Command) -> Result<Run> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = anonymous.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(5));
    };
    if !ended.success() {
        bail!("{command:?}: {ended}");
    }
    Ok(Run {
        seconds: start.elapsed().as_secs_f64(),
        peak,
    })
}

fn stock(args: &[&str]) -> Result<String> {
    oracle::python().context("no references")?.run("stock.py", args)
}

fn table(options: &Options) -> Result<String> {
    let (model, imatrix) = inputs(options)?;
    let dir = tempfile::tempdir_in(oracle::home())?;
    let weights: u64 = gguf::GgufModel::open(&model)?
        .tensors()
        .map(|t| t.info.elements())
        .sum();
    let threads = threads().to_string();
    let ours = run(quantsmith()?
        .args([
            "table",
            "--no-eval",
            "--max-memory",
            BOUND,
            "--threads",
            &threads,
            "--imatrix",
        ])
        .arg(&imatrix)
        .arg(&model)
        .arg("--out")
        .arg(dir.path().join("table")))?;
    let q8 = dir.path().join("q8.gguf");
    let alone = run(quantsmith()?
        .arg("quantize")
        .arg(&model)
        .arg(&q8)
        .args(["Q8_0", &threads]))?;
    let bytes = std::fs::read(&q8)?;
    let start = Instant::now();
    let copy = std::fs::File::create(dir.path().join("copy"))?;
    std::io::Write::write_all(&mut &copy, &bytes)?;
    copy.sync_all()?;
    let copied = start.elapsed().as_secs_f64();
    let mut text = format!(
        "## Whole files\n\n{:.0} million weights in half precision, in the page cache; {threads} threads.\n\n| what \
         | seconds |\n|---|---|\n| the table of 22 files in one pass, bound {BOUND}iB, synced | {:.1} |\n\
         | its peak of anonymous memory | {:.0} MiB |\n| `quantize` Q8_0, synced | {:.2} |\n| writing and syncing \
         as many bytes alone | {copied:.2} |\n",
        weights as f64 / 1e6,
        ours.seconds,
        ours.peak as f64 / f64::from(1 << 20),
        alone.seconds,
    );
    if options.stock {
        let out = dir.path().join("stock.gguf");
        let mut seconds = BTreeMap::new();
        let mut total = 0.0;
        for line in convert::table::published() {
            let name = line.preset.name();
            if !seconds.contains_key(name) {
                let args = [
                    "quantize",
                    model.to_str().context("a path in UTF-8")?,
                    out.to_str().context("a path in UTF-8")?,
                    name,
                    "--threads",
                    &threads,
                    "--imatrix",
                    imatrix.to_str().context("a path in UTF-8")?,
                ];
                let answer = stock(&args)?;
                let found = answer
                    .split("seconds=")
                    .nth(1)
                    .and_then(|s| s.trim().parse::<f64>().ok());
                seconds.insert(name, found.context("no time")?);
            }
            total += seconds[name];
        }
        write!(
            text,
            "| 22 runs of stock (aliases counted again), not synced | {total:.1} |\n\nThe table is {:.1} times as fast \
             (target 12). Stock's runs: ",
            total / ours.seconds
        )?;
        let each: Vec<_> = seconds.iter().map(|(name, s)| format!("{name} {s:.1}")).collect();
        writeln!(text, "{}.", each.join(", "))?;
    }
    Ok(text)
}

fn forward(options: &Options) -> Result<String> {
    let (model, imatrix) = inputs(options)?;
    let dir = tempfile::tempdir_in(oracle::home())?;
    let words = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo/eval.txt");
    let threads = threads().to_string();
    let tokens = f64::from(512 * (WINDOWS[1] - WINDOWS[0]));
    let stock_is = match (&options.llama_perplexity, options.stock) {
        (Some(_), _) => "llama-perplexity",
        (None, true) => "stock's library, its logits evaluated in Python",
        (None, false) => "not measured",
    };
    let mut text = format!(
        "## Forward pass\n\nTokens a second of perplexity, windows of 512, {threads} threads, the median of \
         {FORWARD_ROUNDS}; loading is not counted. Stock: {stock_is}. Ours rounds as stock does (`--rounding \
         llama.cpp`).\n\n| model | ours | stock | ratio | target |\n|---|---|---|---|---|\n"
    );
    let seconds_of_stock = |path: &Path, windows: &str| -> Result<f64> {
        let start = Instant::now();
        let common = ["-c", "512", "--chunks", windows, "--threads", &threads];
        if let Some(program) = &options.llama_perplexity {
            run(Command::new(program)
                .arg("-m")
                .arg(path)
                .arg("-f")
                .arg(&words)
                .args(common))?;
        } else if options.stock {
            let paths = [path, &words].map(|path| path.to_str().unwrap_or_default());
            stock(&[&["ppl"], &paths[..], &common[..]].concat())?;
        }
        Ok(start.elapsed().as_secs_f64())
    };
    let seconds_of_ours = |path: &Path, windows: &str| -> Result<f64> {
        let common = ["-c", "512", "--chunks", windows, "--threads", &threads];
        Ok(run(quantsmith()?.arg("perplexity").arg(path).arg(&words).args(common))?.seconds)
    };
    for (name, target) in FORWARD {
        let made = dir.path().join(name);
        let path = match name {
            "F16" => &model,
            _ => {
                run(quantsmith()?
                    .args(["quantize", "--imatrix"])
                    .arg(&imatrix)
                    .arg(&model)
                    .arg(&made)
                    .arg(name))?;
                &made
            }
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..FORWARD_ROUNDS {
            let [few, many] = WINDOWS.map(|windows| windows.to_string());
            ours.push(tokens / (seconds_of_ours(path, &many)? - seconds_of_ours(path, &few)?));
            theirs.push(tokens / (seconds_of_stock(path, &many)? - seconds_of_stock(path, &few)?));
        }
        let median = |mut speeds: Vec<f64>| {
            speeds.sort_by(f64::total_cmp);
            speeds[speeds.len() / 2]
        };
        let (ours, theirs) = (median(ours), median(theirs));
        if options.stock || options.llama_perplexity.is_some() {
            writeln!(
                text,
                "| {name} | {ours:.0} | {theirs:.0} | {:.2} | {target} |",
                ours / theirs
            )?;
        } else {
            writeln!(text, "| {name} | {ours:.0} | | | {target} |")?;
        }
    }
    Ok(text)
}
