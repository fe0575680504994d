//! The architectures: one file a family, with its hyperparameters, its tensor names and the transforms between the two
//! layouts, in the words of [`super::rules`].

mod afmoe;
mod apertus;
mod arctic;
mod baichuan;
mod bailing;
mod bailing3;
mod bert;
mod bidirectional;
mod bitnet;
mod bloom;
mod chameleon;
mod code;
mod cogvlm;
mod cohere;
mod compressed;
mod dbrx;
mod deci;
mod deepseek;
mod deepseek4;
mod diffusion;
mod dots3;
mod draft;
mod eagle3;
mod ernie;
mod exaone;
mod falcon;
mod gemma;
mod gemma3n;
mod gemma4;
mod glm;
mod glm5_next;
mod gpt2;
mod gpt_oss;
mod gptneox;
mod granite;
mod granite_hybrid;
mod granite_swa;
mod granite_switch;
mod grok;
mod grovemoe;
mod hrm_text;
mod hunyuan;
mod hy_v3;
mod hy_v4;
mod hybrid;
mod internlm2;
mod jais;
mod kimi_k3;
mod kimi_linear;
mod laguna;
mod llama;
mod llama4;
mod mamba;
mod mellum;
mod mimo;
mod minicpm;
mod minimax;
pub(crate) mod mistral;
mod modern_bert;
mod moe;
mod mpt;
mod muse_glimmer;
mod nanbeige;
mod nemotron;
mod nemotron_h;
mod olmo;
mod openelm;
mod pangu;
mod phi;
mod plamo;
pub(crate) mod pockettts;
mod qwen;
mod qwen2;
mod qwen2moe;
mod qwen2vl;
mod qwen3;
mod qwen3_5;
mod qwen3next;
mod qwen3tts;
mod qwen3vl;
mod qwen4exp;
mod rwkv;
mod seed_oss;
mod spark;
mod speech;
mod stablelm;
mod starcoder2;
mod step;
mod t5;
mod talkie;

use super::Architecture;
use super::described::Described;

/// The architectures that are data through and through, in the order in which messages list them.
pub(crate) static DESCRIBED: &[&Described] = &[
    &llama::DESCRIBED,
    &qwen2::DESCRIBED,
    &qwen3::DESCRIBED,
    &gemma::DESCRIBED,
    &gemma::DESCRIBED2,
    &gemma::DESCRIBED3,
];

/// Every architecture, in the order in which `convert --list` prints them.
pub(crate) static ARCHITECTURES: &[&Architecture] = &[
    &llama::LLAMA,
    &llama::SARASHINA2_VISION,
    &qwen::QWEN,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &qwen2moe::QWEN2MOE,
    &qwen2moe::QWEN3MOE,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &gemma::GEMMA_EMBEDDING,
    &gemma3n::GEMMA3N,
    &gemma4::GEMMA4,
    &gemma4::GEMMA4_UNIFIED,
    &phi::PHI2,
    &phi::PHI3,
    &phi::PHIMOE,
    &gpt2::GPT2,
    &gpt2::STARCODER,
    &gptneox::GPTNEOX,
    &starcoder2::STARCODER2,
    &falcon::FALCON,
    &stablelm::STABLELM,
    &cohere::COMMAND_R,
    &cohere::COHERE2,
    &olmo::OLMO,
    &olmo::OLMO2,
    &olmo::OLMOE,
    &seed_oss::SEED_OSS,
    &internlm2::INTERNLM2,
    &internlm2::INTERNLM3,
    &llama::SMOLLM3,
    &llama::ARCEE,
    &llama::MISTRAL3,
    &qwen2vl::QWEN2VL,
    &qwen3vl::QWEN3VL,
    &qwen3vl::QWEN3_ASR,
    &qwen3vl::QWEN3VL_MOE,
    &qwen3vl::QWEN3_OMNI,
    &granite::GRANITE,
    &granite::GRANITE_MOE,
    &glm::GLM4,
    &glm::GLM_OCR,
    &glm::CHATGLM,
    &nemotron::NEMOTRON,
    &nemotron_h::NEMOTRON_H,
    &jais::JAIS2,
    &bloom::BLOOM,
    &mpt::MPT,
    &exaone::EXAONE,
    &exaone::EXAONE4,
    &exaone::EXAONE4_5,
    &exaone::EXAONE_MOE,
    &hunyuan::HUNYUAN_DENSE,
    &hunyuan::HUNYUAN_MOE,
    &apertus::APERTUS,
    &baichuan::BAICHUAN,
    &baichuan::XVERSE,
    &baichuan::ORION,
    &code::CODESHELL,
    &code::REFACT,
    &minicpm::MINICPM,
    &pangu::PANGU_EMBEDDED,
    &pangu::MAINCODER,
    &bert::BERT,
    &bert::DISTILBERT,
    &bert::ROBERTA,
    &bert::XLM_ROBERTA,
    &bert::NOMIC_BERT,
    &modern_bert::MODERN_BERT,
    &t5::T5,
    &t5::T5_ENCODER,
    &deepseek::DEEPSEEK,
    &deepseek::DEEPSEEK2,
    &deepseek::DEEPSEEK2_OCR,
    &deepseek::GLM4_MOE_LITE,
    &deepseek::DEEPSEEK32,
    &deepseek::GLM_DSA,
    &dots3::DOTS3NOTE,
    &gpt_oss::GPT_OSS,
    &llama4::LLAMA4,
    &mamba::MAMBA,
    &mamba::MAMBA2,
    &rwkv::RWKV6,
    &rwkv::RWKV7,
    &moe::DOTS1,
    &moe::GLM4_MOE,
    &moe::SOLAR_OPEN,
    &moe::MINIMAX_M2,
    &minimax::MINIMAX01,
    &minimax::MINIMAX_M3,
    &dbrx::DBRX,
    &granite_hybrid::GRANITE_HYBRID,
    &qwen3next::QWEN3NEXT,
    &qwen3_5::QWEN3_5,
    &qwen3_5::QWEN3_5_MOE,
    &ernie::ERNIE4_5,
    &ernie::PADDLEOCR,
    &ernie::ERNIE4_5_MOE,
    &hybrid::JAMBA,
    &hybrid::FALCON_H1,
    &hybrid::LFM2,
    &hybrid::LFM2_MOE,
    &kimi_linear::KIMI_LINEAR,
    &bailing::BAILINGMOE,
    &bailing::BAILINGMOE2,
    &bailing3::BAILINGMOE3,
    &deci::DECI,
    &diffusion::DREAM,
    &diffusion::LLADA,
    &diffusion::LLADA_MOE,
    &diffusion::RND1,
    &bidirectional::EUROBERT,
    &bidirectional::LLAMA_EMBED,
    &bidirectional::NEO_BERT,
    &afmoe::AFMOE,
    &cohere::COHERE2_MOE,
    &mellum::MELLUM,
    &mellum::MAPLE,
    &spark::SPARK2_5,
    &muse_glimmer::MUSE_GLIMMER,
    &arctic::ARCTIC,
    &grok::GROK,
    &grovemoe::GROVEMOE,
    &grovemoe::SMALLTHINKER,
    &nanbeige::NANBEIGE,
    &talkie::TALKIE,
    &hrm_text::HRM_TEXT,
    &chameleon::CHAMELEON,
    &openelm::OPENELM,
    &hy_v3::HY_V3,
    &hy_v4::HY_V4,
    &compressed::PLM,
    &compressed::MINICPM3,
    &granite_swa::GRANITE_SWA,
    &laguna::LAGUNA,
    &jais::JAIS,
    &mimo::MIMO2,
    &step::STEP35,
    &hunyuan::HUNYUAN_VL,
    &eagle3::EAGLE3,
    &draft::DFLASH,
    &draft::DSPARK,
    &draft::GEMMA4_DSPARK,
    &draft::MUSE_GLIMMER_ASSISTANT,
    &gpt2::RUGPT3XL,
    &hybrid::LFM2_EMBEDDING,
    &draft::GEMMA4_ASSISTANT,
    &plamo::PLAMO,
    &plamo::PLAMO2,
    &plamo::PLAMO3,
    &bitnet::BITNET,
    &bailing::SARVAM,
    &bert::JINA_BERT,
    &nemotron_h::PUZZLE,
    &rwkv::RWKV6_QWEN2,
    &rwkv::ARWKV7,
    &bert::CAMEMBERT,
    &qwen3_5::MINICPM_V,
    &granite_switch::GRANITE_SWITCH,
    &qwen4exp::QWEN4EXP,
    &glm5_next::GLM5_NEXT,
    &kimi_k3::KIMI_K3,
    &cogvlm::COGVLM,
    &deepseek4::DEEPSEEK4,
    &deepseek4::DEEPSEEK4_DSPARK,
    &speech::LFM2_AUDIO_TOKENIZER,
    &speech::WAVTOKENIZER_DEC,
    &pockettts::POCKETTTS,
    &qwen3tts::QWEN3TTS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_vocabularies_are_in_order() {
        let configs = [serde_json::json!({}), serde_json::json!({"vocab_size": 32016})];
        for (architecture, config) in ARCHITECTURES
            .iter()
            .flat_map(|a| configs.iter().map(move |c| (a, c)))
        {
            if let Err(e) = (architecture.vocabulary)(config).parts() {
                panic!("{}: {e}", architecture.gguf);
            }
        }
    }
}
