//! `provenance.intoto.json`: an in-toto statement with SLSA's predicate. Its subjects are the files of the folder, its
//! materials (`resolvedDependencies`) the files of the source, the importance matrix and the texts, each by digest; its
//! parameters are those of the run.
//!
//! It is not signed: it says what is to be checked, and [`Statement::materials`] by what. A signature over this file is the
//! publisher's to add.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::record::{FileDigest, SourceKind, Table, Text};
use crate::{Error, Result};

/// Name of the file.
pub const FILE: &str = "provenance.intoto.json";
/// Longest statement that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
const PROJECT: &str = "https://github.com/quantsmith/quantsmith";

/// A statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    ty: String,
    /// The files made.
    pub subject: Vec<Resource>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
    external_parameters: Value,
    internal_parameters: Value,
    resolved_dependencies: Vec<Resource>,
}

/// A file by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Where it comes from, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digest.
    pub digest: Digest,
    /// Role of the material.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
}

/// Digests of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// SHA-256, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Notes on a material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// Role of the material.
    pub role: Role,
    /// Whether it is inside the program.
    #[serde(default)]
    pub bundled: bool,
}

/// Use of a material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// A file of the source.
    Source,
    /// The description of the source's architecture.
    Architecture,
    /// The importance matrix.
    Importance,
    /// Text that the importance matrix was made of.
    CalibrationText,
    /// Text that the files were measured on.
    EvaluationText,
}

impl Resource {
    fn of(file: &FileDigest) -> Self {
        Self {
            name: file.name.clone(),
            uri: None,
            digest: Digest {
                sha256: file.sha256.clone(),
            },
            annotations: None,
        }
    }

    fn material(name: &str, sha256: &str, uri: Option<String>, role: Role, bundled: bool) -> Self {
        Self {
            name: name.to_owned(),
            uri,
            digest: Digest {
                sha256: sha256.to_owned(),
            },
            annotations: Some(Annotations { role, bundled }),
        }
    }

    fn of_text(text: &Text, role: Role) -> Self {
        Self::material(&text.name, &text.sha256, None, role, text.bundled)
    }

    /// Role of a material.
    pub fn role(&self) -> Option<Role> {
        self.annotations.as_ref().map(|a| a.role)
    }

    /// Whether a material is inside the program.
    pub fn is_bundled(&self) -> bool {
        self.annotations.as_ref().is_some_and(|a| a.bundled)
    }
}

/// Materials of a table's files.
fn materials(table: &Table) -> Vec<Resource> {
    let source = &table.source;
    let mut materials = Vec::new();
    for file in &source.files {
        let uri = match (&source.repository, &source.revision) {
            (Some(repository), Some(revision)) => Some(format!(
                "https://huggingface.co/{repository}/resolve/{revision}/{}",
                file.name
            )),
            _ => None,
        };
        let bundled = source.kind == SourceKind::Demo;
        materials.push(Resource::material(
            &file.name,
            &file.sha256,
            uri,
            Role::Source,
            bundled,
        ));
    }
    if let Some(file) = &source.architecture {
        let role = Role::Architecture;
        materials.push(Resource::material(&file.name, &file.sha256, None, role, false));
    }
    if let Some(importance) = &table.importance {
        let (file, role) = (&importance.file, Role::Importance);
        materials.push(Resource::material(&file.name, &file.sha256, None, role, false));
        let text = importance.text.iter();
        materials.extend(text.map(|text| Resource::of_text(text, Role::CalibrationText)));
    }
    let texts = table.evaluation.iter().flat_map(|e| &e.texts);
    materials.extend(texts.map(|text| Resource::of_text(&text.text, Role::EvaluationText)));
    materials
}

impl Statement {
    /// The statement of a table's files.
    pub fn of(table: &Table, subjects: &[FileDigest]) -> Self {
        let source = &table.source;
        let evaluation = table.evaluation.as_ref().map(|e| {
            json!({
                "context": e.context,
                "chunks": e.chunks,
                "rounding": e.rounding,
                "precision": e.precision,
            })
        });
        let presets: Vec<&str> = table.rows.iter().map(|row| row.preset.as_str()).collect();
        Self {
            ty: STATEMENT.to_owned(),
            subject: subjects.iter().map(Resource::of).collect(),
            predicate_type: PREDICATE.to_owned(),
            predicate: Predicate {
                build_definition: BuildDefinition {
                    build_type: format!("{PROJECT}/blob/main/docs/publish.md#provenance"),
                    external_parameters: json!({
                        "model": table.model.name,
                        "source": {
                            "name": source.name,
                            "repository": source.repository,
                            "revision": source.revision,
                        },
                        "presets": presets,
                        "parameters": table.parameters,
                        "importance": table.importance.as_ref().map(|i| json!({
                            "recorded_as": i.recorded_as,
                            "made": i.made,
                            "chunks": i.chunks,
                            "chunk_size": i.chunk_size,
                        })),
                        "evaluation": evaluation,
                    }),
                    internal_parameters: json!({
                        "llama_cpp": table.tool.llama_cpp,
                        "plan_sha256": table.plan_sha256,
                    }),
                    resolved_dependencies: materials(table),
                },
                run_details: json!({
                    "builder": {
                        "id": PROJECT,
                        "version": {
                            "quantsmith": table.tool.version,
                            "commit": table.tool.commit,
                        },
                    },
                    "metadata": {
                        "startedOn": table.times.started,
                        "finishedOn": table.times.finished,
                    },
                }),
            },
        }
    }

    /// Materials of the files.
    pub fn materials(&self) -> &[Resource] {
        &self.predicate.build_definition.resolved_dependencies
    }

    /// The statement as JSON.
    ///
    /// # Errors
    /// None that a statement of this crate has.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::input(FILE, e.to_string()))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// A file that cannot be read, or that is no statement of these types.
    pub fn load(path: &Path) -> Result<Self> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(|source| Error::io(path, source))?;
        let input = |message: String| Error::input(path, message);
        let statement: Self = serde_json::from_slice(&bytes).map_err(|e| {
            input(format!(
                "expected an in-toto statement with SLSA's predicate: {e}"
            ))
        })?;
        for (key, expected, found) in [
            ("_type", STATEMENT, &statement.ty),
            ("predicateType", PREDICATE, &statement.predicate_type),
        ] {
            if found != expected {
                return Err(input(format!(
                    "key '{key}': expected {expected}, found {found:?}"
                )));
            }
        }
        Ok(statement)
    }
}
