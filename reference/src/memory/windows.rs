//! Layers that see a window only, as llama.cpp's loader tells them apart.

use gguf::Metadata;

use super::keys::{flags, number};

/// The window of an architecture's files, and which layers have it.
struct Windows {
    architecture: &'static str,
    /// All but one of so many layers have it, unless the file says which.
    period: Period,
    /// Whose window it is that the file does not give.
    window: Window,
}

/// Which layers have a window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Period {
    /// All but the last of every so many.
    AllButLast(u64),
    /// All but the first of every so many.
    AllButFirst(u64),
    /// Those that the file flags.
    Flagged,
    /// All.
    All,
    /// Those without a recurrent state.
    WithoutState,
}

/// Size of the window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Window {
    /// That of the file; without the key, or with 0, every layer sees all.
    OfFile,
    /// That of the file, or else this one.
    OfFileOr(u64),
    /// This one where the file has the key and it is not 0.
    Fixed(u64),
    /// This one unless the file says 0.
    Chunk(u64),
}

const fn row(architecture: &'static str, period: Period, window: Window) -> Windows {
    Windows {
        architecture,
        period,
        window,
    }
}

/// Architectures whose caches have fewer cells for layers with a window. Of Phi 3, the window is not used.
const WINDOWS: [Windows; 25] = [
    row("afmoe", Period::AllButLast(4), Window::OfFile),
    row("cohere2", Period::AllButLast(4), Window::OfFile),
    row("cohere2moe", Period::AllButFirst(4), Window::OfFile),
    row("deepseek4", Period::All, Window::OfFile),
    row("dots3note", Period::Flagged, Window::OfFile),
    row("exaone-moe", Period::AllButLast(4), Window::OfFileOr(128)),
    row("exaone4", Period::AllButLast(4), Window::OfFileOr(4096)),
    row("gemma2", Period::AllButLast(2), Window::OfFileOr(4096)),
    row("gemma3", Period::AllButLast(6), Window::OfFile),
    row("gemma3n", Period::AllButLast(5), Window::OfFile),
    row("gemma4", Period::Flagged, Window::OfFile),
    row("gpt-oss", Period::AllButLast(2), Window::OfFile),
    row("granite_swa", Period::Flagged, Window::OfFile),
    row("laguna", Period::AllButFirst(4), Window::OfFile),
    row("lfm2", Period::WithoutState, Window::OfFile),
    row("llama4", Period::AllButLast(4), Window::Chunk(8192)),
    row("maple", Period::Flagged, Window::OfFile),
    row("mellum", Period::AllButLast(4), Window::OfFile),
    row("mimo2", Period::Flagged, Window::OfFile),
    row("muse-glimmer", Period::AllButLast(4), Window::OfFile),
    row("olmo2", Period::AllButLast(4), Window::OfFile),
    row("plamo3", Period::AllButLast(8), Window::OfFile),
    row("smallthinker", Period::AllButFirst(4), Window::Fixed(4096)),
    row("spark2_5", Period::Flagged, Window::OfFile),
    row("step35", Period::Flagged, Window::OfFile),
];

/// The window in tokens and a flag for each of `blocks` layers, `running` of which compute; `None` where every layer
/// sees everything. `recurrent` are those with a state.
pub(super) fn windows(
    metadata: &Metadata,
    blocks: usize,
    running: usize,
    recurrent: &[bool],
) -> Option<(u64, Vec<bool>)> {
    let name = metadata.architecture();
    // EXAONE 4 has windows in the size that llama.cpp knows to have them.
    if name == "exaone4" && running != 64 {
        return None;
    }
    let row = WINDOWS.iter().find(|w| w.architecture == name)?;
    let stored = number(metadata, "attention.sliding_window");
    let window = match row.window {
        Window::OfFile => stored.filter(|&n| n > 0)?,
        Window::OfFileOr(usual) => stored.unwrap_or(usual),
        Window::Fixed(n) => stored.filter(|&n| n > 0).map(|_| n)?,
        Window::Chunk(n) => (stored != Some(0)).then_some(n)?,
    };
    const PATTERN: &str = "attention.sliding_window_pattern";
    let mut period = row.period;
    if let Period::AllButLast(_) | Period::AllButFirst(_) | Period::Flagged = period
        && let Some(flags) = flags(metadata, PATTERN)
    {
        let padded = flags.into_iter().chain(std::iter::repeat(false));
        return Some((window, padded.take(blocks).collect()));
    }
    if let Period::AllButLast(n) | Period::AllButFirst(n) = &mut period
        && let Some(stored) = number(metadata, PATTERN)
    {
        *n = stored;
    }
    let has = |layer: usize| {
        let at = layer as u64;
        match period {
            Period::AllButLast(0) | Period::AllButFirst(0) | Period::All => true,
            Period::AllButLast(n) => at % n < n - 1,
            Period::AllButFirst(n) => !at.is_multiple_of(n),
            Period::WithoutState => recurrent.get(layer) == Some(&false),
            Period::Flagged => false,
        }
    };
    let every = matches!(period, Period::All);
    Some((
        window,
        (0..blocks).map(|l| (l < running || every) && has(l)).collect(),
    ))
}
