"""Internals of models, tables and the Hub, and functions outside the trainers that are replaced."""

from app.engine.trainers.library_internals.entry import LibraryInternal

MODELS_AND_DATA = (
    LibraryInternal(
        ("transformers.PretrainedConfig",),
        "_name_or_path",
        "replaced",
        ("engine/model/load_model.py",),
        "A model made from a config has no name, and TRL and PEFT save the name of the base.",
    ),
    LibraryInternal(
        ("transformers.PretrainedConfig",),
        "_attn_implementation",
        "replaced",
        ("engine/model/load_model.py", "engine/model/model_config.py"),
        "A model's files may name compiled kernels, which would be downloaded and run; a setting names another one.",
    ),
    LibraryInternal(
        ("transformers.utils.hub",),
        "cached_files",
        "called",
        ("engine/model/tokenizer.py",),
        "Its private parameters make a missing file an answer instead of an error.",
        "(path_or_repo_id, filenames, cache_dir=None, force_download=False, proxies=None, token=None, revision=None, "
        "local_files_only=False, subfolder='', repo_type=None, user_agent=None, _raise_exceptions_for_gated_repo=True, "
        "_raise_exceptions_for_missing_entries=True, _raise_exceptions_for_connection_errors=True, tqdm_class=None, "
        "**deprecated_kwargs)",
    ),
    LibraryInternal(
        ("transformers.dynamic_module_utils",),
        "TIME_OUT_REMOTE_CODE",
        "replaced",
        ("engine/libraries.py",),
        "A model that wants to run its own code is refused without a question.",
    ),
    LibraryInternal(
        ("peft.PeftModel",),
        "save_pretrained",
        "replaced",
        ("engine/model/quantization.py",),
        "An adapter is saved without the embeddings, as the trained rows are enough.",
        "(self, save_directory, safe_serialization=True, selected_adapters=None, save_embedding_layers='auto', "
        "is_main_process=True, path_initial_model_for_weight_conversion=None, **kwargs)",
    ),
    LibraryInternal(
        ("peft.tuners.lora.layer.LoraVariant",),
        "forward",
        "overridden",
        ("engine/model/fused_lora.py",),
        "Plain LoRA is computed with one matrix product less.",
        "(module, active_adapter, x, result, **kwargs)",
    ),
    LibraryInternal(
        ("transformers.PreTrainedModel",),
        "to",
        "replaced",
        ("engine/model/aux_models.py", "engine/trainers/preference.py"),
        "A model without weights cannot be moved.",
        "(self, *args, **kwargs)",
    ),
    LibraryInternal(
        ("transformers.LlamaForCausalLM",),
        "forward",
        "replaced",
        (
            "engine/model/label_smoothing.py",
            "engine/model/trained_positions_head.py",
            "engine/generation/loaded_result.py",
        ),
        "TRL's fused forward is wrapped, so that without Triton logits of trained positions only are computed, and for "
        "label smoothing; that of a result, so that it computes in mixed precision as accelerate has it do in training.",
        "(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None, "
        "labels=None, use_cache=None, logits_to_keep=0, **kwargs)",
    ),
    LibraryInternal(
        ("transformers.models.llama.modeling_llama.LlamaDecoderLayer", "torch.nn.Linear"),
        "forward",
        "replaced",
        ("engine/model/compiled_layers.py", "engine/model/float8.py"),
        "Layers are compiled, and multiply in FP8, only while they learn.",
    ),
    LibraryInternal(
        ("torch",),
        "_inductor",
        "read",
        ("engine/trainers/compilation.py",),
        "Whether PyTorch finds a C++ compiler: it has no public function that says so.",
    ),
    LibraryInternal(
        ("torch._inductor.cpp_builder",),
        "get_cpp_compiler",
        "called",
        ("engine/trainers/compilation.py",),
        "As above.",
        "()",
    ),
    LibraryInternal(
        ("trl.kernels.chunked_logprob",),
        "_use_triton",
        "called",
        ("engine/model/trained_positions_head.py",),
        "Decides whether TRL itself computes logits of trained positions only.",
        "(device)",
    ),
    LibraryInternal(
        ("bitsandbytes.nn.Linear4bit",),
        "support_avx512bf16_for_cpu",
        "replaced",
        ("engine/model/quantization.py",),
        "Weights packed for AVX512 pass no gradient back.",
    ),
    LibraryInternal(
        ("datasets.Dataset",),
        "_indices",
        "read",
        (
            "engine/audit/runner.py",
            "engine/datasets/prepared_cache.py",
            "engine/datasets/token_columns.py",
            "engine/tokens/document_boundaries.py",
            "engine/tokens/tokenized_examples.py",
        ),
        "Only a table whose rows were selected must be copied before its columns are read.",
    ),
    LibraryInternal(
        ("datasets.Dataset",),
        "_fingerprint",
        "read",
        ("engine/datasets/prepared_cache.py",),
        "A table that is opened in another way keeps its fingerprint.",
    ),
    LibraryInternal(
        ("datasets.arrow_dataset",),
        "hf_tqdm",
        "replaced",
        ("engine/cooperative.py",),
        "Passes over a table pause and report progress where they would move their progress bar.",
    ),
    LibraryInternal(
        ("huggingface_hub.utils",),
        "_http",
        "read",
        ("hub/connection.py",),
        "Timeouts are set on the client that the library would make itself.",
    ),
    LibraryInternal(
        ("huggingface_hub.utils._http",),
        "default_client_factory",
        "called",
        ("hub/connection.py",),
        "As above.",
        "()",
    ),
)
