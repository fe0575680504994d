//! A part of a plan, and how schedulers say which one a process is to do.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Remedy, Result};

/// Most parts that a plan is cut into: more than any scheduler's arrays have.
const MAX_PARTS: u64 = 1_000_000;

/// A part of a plan: one of so many, counted from 1, written `3/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    number: u64,
    count: u64,
}

impl Part {
    /// Part `number` of `count`, counted from 1.
    ///
    /// # Errors
    /// A number that is none of these parts.
    pub fn new(number: u64, count: u64) -> Result<Self> {
        if number == 0 || number > count || count > MAX_PARTS {
            return Err(Error::Request(format!(
                "part {number} of {count}: expected a number from 1 to {count}, of at most {MAX_PARTS} parts"
            )));
        }
        Ok(Self { number, count })
    }

    /// Its number, counted from 1.
    pub fn number(self) -> u64 {
        self.number
    }

    /// Number of parts.
    pub fn count(self) -> u64 {
        self.count
    }

    /// The part that a scheduler's variables name: those of a Slurm array, else those of an indexed job of Kubernetes,
    /// else `RANK` and `WORLD_SIZE`. `None` where there are none of them.
    ///
    /// # Errors
    /// Variables that contradict each other or name no part, and an array with gaps, whose ids are no numbers of parts.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str| -> Result<Option<u64>> {
            let Some(text) = variable(name) else {
                return Ok(None);
            };
            let parsed = text.trim().parse().map(Some);
            parsed.map_err(|_| Error::Request(format!("{name}: expected a number, found {text:?}")))
        };
        let needed = |name: &str, beside: &str| -> Result<u64> {
            number(name)?.ok_or_else(|| {
                Error::Request(format!("{name}: expected a number beside {beside}, found none"))
                    .avoided_by(Remedy::Part)
            })
        };
        if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            let count = needed("SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_ID")?;
            let first = needed("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_ID")?;
            let last = needed("SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_ID")?;
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let regular = last.checked_sub(first).map(|width| width / step + 1) == Some(count);
            let offset = id.checked_sub(first).filter(|o| o % step == 0 && id <= last);
            // `--array=3,7` repeats two parts of many; which of how many, its variables do not say.
            let Some(offset) = offset.filter(|_| regular) else {
                let message = format!(
                    "SLURM_ARRAY_TASK_ID: expected an array whose ids number parts, found {count} tasks from {first} to {last}"
                );
                return Err(Error::Request(message).avoided_by(Remedy::Part));
            };
            return Self::new(offset / step + 1, count).map(Some);
        }
        if let Some(index) = number("JOB_COMPLETION_INDEX")? {
            // Kubernetes does not say of how many; the manifest has to.
            let count = needed("JOB_COMPLETIONS", "JOB_COMPLETION_INDEX")?;
            return Self::new(index.saturating_add(1), count).map(Some);
        }
        if let Some(rank) = number("RANK")? {
            let count = needed("WORLD_SIZE", "RANK")?;
            return Self::new(rank.saturating_add(1), count).map(Some);
        }
        Ok(None)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let pair = text.split_once('/');
        let parsed = pair.and_then(|(number, count)| Some((number.parse().ok()?, count.parse().ok()?)));
        let (number, count) =
            parsed.ok_or_else(|| Error::Request(format!("part {text:?}: expected I/N, as 3/8")))?;
        Self::new(number, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_1() {
        let part: Part = "3/8".parse().unwrap();
        assert_eq!(
            (part.number(), part.count(), part.to_string()),
            (3, 8, "3/8".to_owned())
        );
        for wrong in ["0/8", "9/8", "3", "3/", "/8", "-1/8", "1/1000001", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    fn from(variables: &[(&str, &str)]) -> Result<Option<Part>> {
        Part::from_environment(&|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn slurm<'a>(id: &'a str, count: &'a str, min: &'a str, max: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_COUNT", count),
            ("SLURM_ARRAY_TASK_MIN", min),
            ("SLURM_ARRAY_TASK_MAX", max),
        ]
    }

    #[test]
    fn schedulers_say_which_part() {
        let part = |variables: &[(&str, &str)]| from(variables).unwrap().map(|p| p.to_string());
        assert_eq!(part(&[]), None);
        assert_eq!(part(&slurm("0", "4", "0", "3")).as_deref(), Some("1/4"));
        assert_eq!(part(&slurm("4", "4", "1", "4")).as_deref(), Some("4/4"));
        let mut stepped = slurm("8", "4", "0", "12").to_vec();
        stepped.push(("SLURM_ARRAY_TASK_STEP", "4"));
        assert_eq!(part(&stepped).as_deref(), Some("3/4"));
        let job = [("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "3")];
        assert_eq!(part(&job).as_deref(), Some("1/3"));
        assert_eq!(
            part(&[("RANK", "2"), ("WORLD_SIZE", "3")]).as_deref(),
            Some("3/3")
        );
    }

    #[test]
    fn arrays_with_gaps_and_lone_variables_are_refused() {
        for (variables, told) in [
            (&slurm("3", "2", "3", "7")[..], "whose ids number parts"),
            (&slurm("9", "4", "0", "3"), "whose ids number parts"),
            (&[("SLURM_ARRAY_TASK_ID", "1")], "SLURM_ARRAY_TASK_COUNT"),
            (&[("JOB_COMPLETION_INDEX", "1")], "JOB_COMPLETIONS"),
            (&[("RANK", "3"), ("WORLD_SIZE", "3")], "part 4 of 3"),
            (&[("RANK", "x"), ("WORLD_SIZE", "3")], "\"x\""),
        ] {
            let message = from(variables).unwrap_err().to_string();
            assert!(message.contains(told), "{message}");
        }
    }
}
