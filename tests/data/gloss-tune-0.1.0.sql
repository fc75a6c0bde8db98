SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE TYPE public.studydirection AS ENUM (
    'NOT_SET',
    'MINIMIZE',
    'MAXIMIZE'
);
CREATE TYPE public.trialintermediatevaluetype AS ENUM (
    'FINITE',
    'INF_POS',
    'INF_NEG',
    'NAN'
);
CREATE TYPE public.trialstate AS ENUM (
    'RUNNING',
    'COMPLETE',
    'PRUNED',
    'FAIL',
    'WAITING'
);
CREATE TYPE public.trialvaluetype AS ENUM (
    'FINITE',
    'INF_POS',
    'INF_NEG'
);
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.studies (
    study_id integer NOT NULL,
    study_name character varying(512) NOT NULL
);
CREATE SEQUENCE public.studies_study_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.studies_study_id_seq OWNED BY public.studies.study_id;
CREATE TABLE public.study_directions (
    study_direction_id integer NOT NULL,
    direction public.studydirection NOT NULL,
    study_id integer NOT NULL,
    objective integer NOT NULL
);
CREATE SEQUENCE public.study_directions_study_direction_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_directions_study_direction_id_seq OWNED BY public.study_directions.study_direction_id;
CREATE TABLE public.study_system_attributes (
    study_system_attribute_id integer NOT NULL,
    study_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.study_system_attributes_study_system_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_system_attributes_study_system_attribute_id_seq OWNED BY public.study_system_attributes.study_system_attribute_id;
CREATE TABLE public.study_user_attributes (
    study_user_attribute_id integer NOT NULL,
    study_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.study_user_attributes_study_user_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_user_attributes_study_user_attribute_id_seq OWNED BY public.study_user_attributes.study_user_attribute_id;
CREATE TABLE public.trial_heartbeats (
    trial_heartbeat_id integer NOT NULL,
    trial_id integer NOT NULL,
    heartbeat timestamp without time zone NOT NULL
);
CREATE SEQUENCE public.trial_heartbeats_trial_heartbeat_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_heartbeats_trial_heartbeat_id_seq OWNED BY public.trial_heartbeats.trial_heartbeat_id;
CREATE TABLE public.trial_intermediate_values (
    trial_intermediate_value_id integer NOT NULL,
    trial_id integer NOT NULL,
    step integer NOT NULL,
    intermediate_value double precision,
    intermediate_value_type public.trialintermediatevaluetype NOT NULL
);
CREATE SEQUENCE public.trial_intermediate_values_trial_intermediate_value_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_intermediate_values_trial_intermediate_value_id_seq OWNED BY public.trial_intermediate_values.trial_intermediate_value_id;
CREATE TABLE public.trial_params (
    param_id integer NOT NULL,
    trial_id integer,
    param_name character varying(512),
    param_value double precision,
    distribution_json text
);
CREATE SEQUENCE public.trial_params_param_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_params_param_id_seq OWNED BY public.trial_params.param_id;
CREATE TABLE public.trial_system_attributes (
    trial_system_attribute_id integer NOT NULL,
    trial_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.trial_system_attributes_trial_system_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_system_attributes_trial_system_attribute_id_seq OWNED BY public.trial_system_attributes.trial_system_attribute_id;
CREATE TABLE public.trial_user_attributes (
    trial_user_attribute_id integer NOT NULL,
    trial_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.trial_user_attributes_trial_user_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_user_attributes_trial_user_attribute_id_seq OWNED BY public.trial_user_attributes.trial_user_attribute_id;
CREATE TABLE public.trial_values (
    trial_value_id integer NOT NULL,
    trial_id integer NOT NULL,
    objective integer NOT NULL,
    value double precision,
    value_type public.trialvaluetype NOT NULL
);
CREATE SEQUENCE public.trial_values_trial_value_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_values_trial_value_id_seq OWNED BY public.trial_values.trial_value_id;
CREATE TABLE public.trials (
    trial_id integer NOT NULL,
    number integer,
    study_id integer,
    state public.trialstate NOT NULL,
    datetime_start timestamp without time zone,
    datetime_complete timestamp without time zone
);
CREATE SEQUENCE public.trials_trial_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trials_trial_id_seq OWNED BY public.trials.trial_id;
CREATE TABLE public.version_info (
    version_info_id integer NOT NULL,
    schema_version integer,
    library_version character varying(256),
    CONSTRAINT version_info_version_info_id_check CHECK ((version_info_id = 1))
);
ALTER TABLE ONLY public.studies ALTER COLUMN study_id SET DEFAULT nextval('public.studies_study_id_seq'::regclass);
ALTER TABLE ONLY public.study_directions ALTER COLUMN study_direction_id SET DEFAULT nextval('public.study_directions_study_direction_id_seq'::regclass);
ALTER TABLE ONLY public.study_system_attributes ALTER COLUMN study_system_attribute_id SET DEFAULT nextval('public.study_system_attributes_study_system_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.study_user_attributes ALTER COLUMN study_user_attribute_id SET DEFAULT nextval('public.study_user_attributes_study_user_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_heartbeats ALTER COLUMN trial_heartbeat_id SET DEFAULT nextval('public.trial_heartbeats_trial_heartbeat_id_seq'::regclass);
ALTER TABLE ONLY public.trial_intermediate_values ALTER COLUMN trial_intermediate_value_id SET DEFAULT nextval('public.trial_intermediate_values_trial_intermediate_value_id_seq'::regclass);
ALTER TABLE ONLY public.trial_params ALTER COLUMN param_id SET DEFAULT nextval('public.trial_params_param_id_seq'::regclass);
ALTER TABLE ONLY public.trial_system_attributes ALTER COLUMN trial_system_attribute_id SET DEFAULT nextval('public.trial_system_attributes_trial_system_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_user_attributes ALTER COLUMN trial_user_attribute_id SET DEFAULT nextval('public.trial_user_attributes_trial_user_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_values ALTER COLUMN trial_value_id SET DEFAULT nextval('public.trial_values_trial_value_id_seq'::regclass);
ALTER TABLE ONLY public.trials ALTER COLUMN trial_id SET DEFAULT nextval('public.trials_trial_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('v3.2.0.a');
INSERT INTO public.studies VALUES (1, 'old');
INSERT INTO public.studies VALUES (2, 'old.confirm');
INSERT INTO public.study_directions VALUES (1, 'MAXIMIZE', 1, 0);
INSERT INTO public.study_directions VALUES (2, 'MAXIMIZE', 2, 0);
INSERT INTO public.study_system_attributes VALUES (1, 1, 'study:metric_names', '["val_macro_f1"]');
INSERT INTO public.study_system_attributes VALUES (13, 2, 'study:metric_names', '["val_macro_f1"]');
INSERT INTO public.study_user_attributes VALUES (1, 1, 'gloss_tune:format', '1');
INSERT INTO public.study_user_attributes VALUES (2, 1, 'gloss_tune:spec', '{"dataset": "mr", "text_column": "text", "label_column": "label", "max_train_docs": null, "model": "sentence-transformers/all-MiniLM-L6-v2", "loss": "gloss", "mode": "integrated", "metric": "val_macro_f1", "trials": 16, "sampler": "tpe", "pruner": "median", "seed": 0, "lease": 30.0, "max_attempts": 10, "max_failures": null, "max_failures_in_a_row": 10, "keep": 0, "rehearse": true, "rehearse_seconds": 0.0, "first_trials": [], "train": {"epochs": 8, "patience": 3, "batch_size": 128, "max_length": 128, "head_learning_rate": 0.01, "weight_decay": 0.01, "warmup_ratio": 0.1, "clip_norm": 1.0, "propagation": "iterative", "normalization": "random_walk", "gloss_weight": 0.7, "precision": "auto"}, "space": {"mask_ratio": {"low": 0.1, "high": 0.9}, "lpa_iterations": {"low": 1, "high": 50, "log": true}, "temperature": {"low": 0.01, "high": 2.0, "log": true}, "learning_rate": {"low": 1e-06, "high": 0.001, "log": true}}}');
INSERT INTO public.study_user_attributes VALUES (3, 1, 'gloss_tune:dataset', '{"name": "mr", "fingerprint": null, "n_train": null, "n_val": null, "n_classes": null}');
INSERT INTO public.study_user_attributes VALUES (4, 1, 'gloss_tune:encoder', '{"name": "sentence-transformers/all-MiniLM-L6-v2", "fingerprint": null}');
INSERT INTO public.study_user_attributes VALUES (5, 1, 'gloss_tune:versions', '{"gloss-tune": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu", "transformers": "5.23.0", "sentence-transformers": "6.2.0", "optuna": "5.0.0", "sqlalchemy": "2.1.9", "scikit-learn": "1.9.1", "numpy": "2.4.6"}');
INSERT INTO public.study_user_attributes VALUES (6, 1, 'gloss_tune:id', '"09f5dcbe"');
INSERT INTO public.study_user_attributes VALUES (7, 2, 'gloss_tune:format', '1');
INSERT INTO public.study_user_attributes VALUES (8, 2, 'gloss_tune:spec', '{"dataset": "mr", "text_column": "text", "label_column": "label", "max_train_docs": null, "model": "sentence-transformers/all-MiniLM-L6-v2", "loss": "gloss", "mode": "integrated", "metric": "val_macro_f1", "trials": 6, "sampler": "random", "pruner": "none", "seed": 0, "lease": 30.0, "max_attempts": 10, "max_failures": null, "max_failures_in_a_row": 10, "keep": 0, "rehearse": true, "rehearse_seconds": 0.0, "first_trials": [], "train": {"epochs": 8, "patience": 3, "batch_size": 128, "max_length": 128, "head_learning_rate": 0.01, "weight_decay": 0.01, "warmup_ratio": 0.1, "clip_norm": 1.0, "propagation": "iterative", "normalization": "random_walk", "gloss_weight": 0.7, "precision": "auto"}, "space": {"mask_ratio": {"low": 0.1, "high": 0.9}, "lpa_iterations": {"low": 1, "high": 50, "log": true}, "temperature": {"low": 0.01, "high": 2.0, "log": true}, "learning_rate": {"low": 1e-06, "high": 0.001, "log": true}, "seed": {"low": 0, "high": 2147483647}}}');
INSERT INTO public.study_user_attributes VALUES (9, 2, 'gloss_tune:dataset', '{"name": "mr", "fingerprint": null, "n_train": null, "n_val": null, "n_classes": null}');
INSERT INTO public.study_user_attributes VALUES (10, 2, 'gloss_tune:encoder', '{"name": "sentence-transformers/all-MiniLM-L6-v2", "fingerprint": null}');
INSERT INTO public.study_user_attributes VALUES (11, 2, 'gloss_tune:versions', '{"gloss-tune": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu", "transformers": "5.23.0", "sentence-transformers": "6.2.0", "optuna": "5.0.0", "sqlalchemy": "2.1.9", "scikit-learn": "1.9.1", "numpy": "2.4.6"}');
INSERT INTO public.study_user_attributes VALUES (12, 2, 'gloss_tune:id', '"18b83cb4"');
INSERT INTO public.study_user_attributes VALUES (13, 2, 'gloss_tune:confirms', '{"study": "old", "files": "old.09f5dcbe", "plan": {"top": 2, "candidates": [{"number": 8, "value": 0.7898460614730427, "params": {"mask_ratio": 0.5446447009316294, "lpa_iterations": 2, "temperature": 0.17870527992249619, "learning_rate": 3.764147236802459e-05}}, {"number": 7, "value": 0.7898014917006622, "params": {"mask_ratio": 0.43896284169091826, "lpa_iterations": 1, "temperature": 0.061917868138272554, "learning_rate": 5.203224046124364e-05}}], "seeds": [655170119, 1655443555, 1139015161]}}');
INSERT INTO public.trial_heartbeats VALUES (1, 1, '2026-11-25 03:40:54.146217');
INSERT INTO public.trial_heartbeats VALUES (2, 2, '2026-11-25 03:40:54.408946');
INSERT INTO public.trial_heartbeats VALUES (3, 3, '2026-11-25 03:40:54.562775');
INSERT INTO public.trial_heartbeats VALUES (4, 4, '2026-11-25 03:40:54.765428');
INSERT INTO public.trial_heartbeats VALUES (5, 5, '2026-11-25 03:40:54.980199');
INSERT INTO public.trial_heartbeats VALUES (6, 6, '2026-11-25 03:40:55.228244');
INSERT INTO public.trial_heartbeats VALUES (7, 7, '2026-11-25 03:40:55.442112');
INSERT INTO public.trial_heartbeats VALUES (8, 8, '2026-11-25 03:40:55.577986');
INSERT INTO public.trial_heartbeats VALUES (9, 9, '2026-11-25 03:40:55.764762');
INSERT INTO public.trial_heartbeats VALUES (10, 10, '2026-11-25 03:40:55.898046');
INSERT INTO public.trial_heartbeats VALUES (11, 11, '2026-11-25 03:40:57.835007');
INSERT INTO public.trial_heartbeats VALUES (12, 12, '2026-11-25 03:40:57.856557');
INSERT INTO public.trial_heartbeats VALUES (13, 13, '2026-11-25 03:40:57.914383');
INSERT INTO public.trial_heartbeats VALUES (14, 17, '2026-11-25 03:41:06.122336');
INSERT INTO public.trial_heartbeats VALUES (15, 18, '2026-11-25 03:41:06.209434');
INSERT INTO public.trial_heartbeats VALUES (16, 19, '2026-11-25 03:41:06.286749');
INSERT INTO public.trial_intermediate_values VALUES (1, 1, 1, 0.5375912425313272, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (2, 1, 2, 0.5732981167437579, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (3, 1, 3, 0.5966564534150468, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (4, 1, 4, 0.6196000153880926, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (5, 1, 5, 0.6355176042370275, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (6, 1, 6, 0.6423627747345084, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (7, 1, 7, 0.6473771704188986, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (8, 1, 8, 0.6520907549448295, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (9, 2, 1, 0.6654241423618221, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (10, 2, 2, 0.730910038670207, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (11, 2, 3, 0.770233018947173, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (12, 2, 4, 0.782863346034934, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (13, 2, 5, 0.78062599778051, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (14, 2, 6, 0.7776952166878549, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (15, 2, 7, 0.7770930596561396, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (16, 3, 1, 0.7365513907550554, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (17, 3, 2, 0.7665077318197449, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (18, 3, 3, 0.7600269025953914, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (19, 3, 4, 0.6708569385011484, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (20, 3, 5, 0.5784820923214835, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (21, 4, 1, 0.5338218751048099, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (22, 4, 2, 0.5450138783792479, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (23, 4, 3, 0.5590871604635472, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (24, 4, 4, 0.573119958839654, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (25, 4, 5, 0.5855133186713201, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (26, 4, 6, 0.5984428619637853, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (27, 4, 7, 0.6018704961235588, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (28, 4, 8, 0.597286292777591, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (29, 5, 1, 0.73090500542154, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (30, 5, 2, 0.7718252892827361, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (31, 5, 3, 0.7846607591672263, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (32, 5, 4, 0.7290552084316093, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (33, 5, 5, 0.6901740855846296, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (34, 5, 6, 0.6457301484729163, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (35, 6, 1, 0.7105949118242869, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (36, 6, 2, 0.7311244310597946, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (37, 6, 3, 0.7325209153307786, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (38, 6, 4, 0.6592794958643479, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (39, 6, 5, 0.5615352279294515, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (40, 6, 6, 0.48529244905605334, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (41, 7, 1, 0.5789045699835718, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (42, 7, 2, 0.6314249206277175, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (43, 7, 3, 0.6702031308857861, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (44, 7, 4, 0.6897660375580026, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (45, 7, 5, 0.7139027840053417, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (46, 7, 6, 0.7125510278860243, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (47, 7, 7, 0.7292940926824412, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (48, 7, 8, 0.7363886700738321, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (49, 8, 1, 0.6730407231013572, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (50, 8, 2, 0.753249900004407, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (51, 8, 3, 0.7721963291956196, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (52, 8, 4, 0.7877756205555021, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (53, 8, 5, 0.7898014917006622, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (54, 8, 6, 0.7890050904519496, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (55, 8, 7, 0.7794894521184731, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (56, 8, 8, 0.7682121823289996, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (57, 9, 1, 0.6572126306749324, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (58, 9, 2, 0.7388226185213095, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (59, 9, 3, 0.7727919562539547, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (60, 9, 4, 0.7783177961650065, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (61, 9, 5, 0.7898460614730427, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (62, 9, 6, 0.7862921736787603, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (63, 9, 7, 0.7817669972711428, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (64, 9, 8, 0.7825663753234753, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (65, 10, 1, 0.6719833144375921, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (66, 10, 2, 0.7314149038224086, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (67, 10, 3, 0.7584953836389394, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (68, 10, 4, 0.7615127223714816, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (69, 10, 5, 0.7602031739326007, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (70, 10, 6, 0.7564924618391796, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (71, 10, 7, 0.7443396686687084, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (72, 12, 1, 0.5, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (73, 13, 1, 0.25, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (74, 17, 1, 0.6638931854788969, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (75, 17, 2, 0.7278880967485001, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (76, 17, 3, 0.7648933821422503, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (77, 17, 4, 0.781929935869527, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (78, 17, 5, 0.7827681786516234, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (79, 17, 6, 0.7797360046124338, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (80, 17, 7, 0.7788823474635531, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (81, 17, 8, 0.769322513941931, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (82, 18, 1, 0.6787103245156528, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (83, 18, 2, 0.7416867461136332, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (84, 18, 3, 0.7776896930777628, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (85, 18, 4, 0.7905950472501799, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (86, 18, 5, 0.7907368717988318, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (87, 18, 6, 0.7855178356255575, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (88, 18, 7, 0.7837602017404409, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (89, 18, 8, 0.7756127983146457, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (90, 19, 1, 0.6581811244410409, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (91, 19, 2, 0.7388951407936092, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (92, 19, 3, 0.7722223373594059, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (93, 19, 4, 0.7813851313594019, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (94, 19, 5, 0.7859024529920585, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (95, 19, 6, 0.7897617469675536, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (96, 19, 7, 0.7831597631219401, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (97, 19, 8, 0.7767108019898192, 'FINITE');
INSERT INTO public.trial_params VALUES (1, 1, 'mask_ratio', 0.4297579031281692, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (2, 1, 'lpa_iterations', 4, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (3, 1, 'temperature', 0.29075742478027317, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (4, 1, 'learning_rate', 2.7179698462235914e-06, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (5, 2, 'mask_ratio', 0.4703774749032592, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (6, 2, 'lpa_iterations', 2, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (7, 2, 'temperature', 0.33729100693143876, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (8, 2, 'learning_rate', 4.4145893557081204e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (9, 3, 'mask_ratio', 0.2515032436451532, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (10, 3, 'lpa_iterations', 39, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (11, 3, 'temperature', 0.08869355730905525, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (12, 3, 'learning_rate', 0.0007645096198509166, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (13, 4, 'mask_ratio', 0.523157279588843, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (14, 4, 'lpa_iterations', 19, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (15, 4, 'temperature', 0.9927603379684231, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (16, 4, 'learning_rate', 2.3639163486364076e-06, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (17, 5, 'mask_ratio', 0.7358103371884129, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (18, 5, 'lpa_iterations', 5, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (19, 5, 'temperature', 0.07190094854179281, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (20, 5, 'learning_rate', 0.00038337712114431904, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (21, 6, 'mask_ratio', 0.4176850624034739, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (22, 6, 'lpa_iterations', 10, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (23, 6, 'temperature', 0.01095730134681153, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (24, 6, 'learning_rate', 0.0007060612921233602, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (25, 7, 'mask_ratio', 0.624788014886559, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (26, 7, 'lpa_iterations', 5, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (27, 7, 'temperature', 0.07884005226413666, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (28, 7, 'learning_rate', 7.45356986567774e-06, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (29, 8, 'mask_ratio', 0.43896284169091826, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (30, 8, 'lpa_iterations', 1, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (31, 8, 'temperature', 0.061917868138272554, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (32, 8, 'learning_rate', 5.203224046124364e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (33, 9, 'mask_ratio', 0.5446447009316294, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (34, 9, 'lpa_iterations', 2, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (35, 9, 'temperature', 0.17870527992249619, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (36, 9, 'learning_rate', 3.764147236802459e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (37, 10, 'mask_ratio', 0.7955274507654273, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (38, 10, 'lpa_iterations', 25, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (39, 10, 'temperature', 0.039326348981585595, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (40, 10, 'learning_rate', 5.820173113755888e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (41, 11, 'mask_ratio', 0.7396960755290296, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (42, 11, 'lpa_iterations', 1, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (43, 11, 'temperature', 1.2626947925292373, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (44, 11, 'learning_rate', 1.604044129832269e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (45, 12, 'mask_ratio', 0.2256340975771127, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (46, 12, 'lpa_iterations', 1, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (47, 12, 'temperature', 0.04324190408158633, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (48, 12, 'learning_rate', 2.5922183096792797e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (49, 13, 'mask_ratio', 0.32749350774689867, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (50, 13, 'lpa_iterations', 4, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (51, 13, 'temperature', 0.03054760640447306, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (52, 13, 'learning_rate', 0.00013060824689304184, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (53, 17, 'mask_ratio', 0.5446447009316294, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (54, 17, 'lpa_iterations', 2, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (55, 17, 'temperature', 0.17870527992249619, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (56, 17, 'learning_rate', 3.764147236802459e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (57, 17, 'seed', 655170119, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 2147483647}}');
INSERT INTO public.trial_params VALUES (58, 18, 'mask_ratio', 0.43896284169091826, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (59, 18, 'lpa_iterations', 1, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (60, 18, 'temperature', 0.061917868138272554, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (61, 18, 'learning_rate', 5.203224046124364e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (62, 18, 'seed', 655170119, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 2147483647}}');
INSERT INTO public.trial_params VALUES (63, 19, 'mask_ratio', 0.5446447009316294, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.9, "log": false}}');
INSERT INTO public.trial_params VALUES (64, 19, 'lpa_iterations', 2, '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 50}}');
INSERT INTO public.trial_params VALUES (65, 19, 'temperature', 0.17870527992249619, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 2.0, "log": true}}');
INSERT INTO public.trial_params VALUES (66, 19, 'learning_rate', 3.764147236802459e-05, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.001, "log": true}}');
INSERT INTO public.trial_params VALUES (67, 19, 'seed', 1655443555, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 2147483647}}');
INSERT INTO public.trial_system_attributes VALUES (1, 11, 'tpe:relative_params:0', '"{\"mask_ratio\": 0.7396960755290296, \"lpa_iterations\": 1, \"temperature\": 1.2626947925292373, \"learning_rate\": 1.604044129832269e-05}"');
INSERT INTO public.trial_system_attributes VALUES (2, 11, 'constraints', '[1.0]');
INSERT INTO public.trial_system_attributes VALUES (3, 12, 'tpe:relative_params:0', '"{\"mask_ratio\": 0.2256340975771127, \"lpa_iterations\": 1, \"temperature\": 0.04324190408158633, \"learning_rate\": 2.5922183096792797e-05}"');
INSERT INTO public.trial_system_attributes VALUES (4, 13, 'tpe:relative_params:0', '"{\"mask_ratio\": 0.32749350774689867, \"lpa_iterations\": 4, \"temperature\": 0.03054760640447306, \"learning_rate\": 0.00013060824689304184}"');
INSERT INTO public.trial_system_attributes VALUES (5, 17, 'fixed_params', '{"mask_ratio": 0.5446447009316294, "lpa_iterations": 2, "temperature": 0.17870527992249619, "learning_rate": 3.764147236802459e-05, "seed": 655170119}');
INSERT INTO public.trial_system_attributes VALUES (6, 18, 'fixed_params', '{"mask_ratio": 0.43896284169091826, "lpa_iterations": 1, "temperature": 0.061917868138272554, "learning_rate": 5.203224046124364e-05, "seed": 655170119}');
INSERT INTO public.trial_system_attributes VALUES (7, 19, 'fixed_params', '{"mask_ratio": 0.5446447009316294, "lpa_iterations": 2, "temperature": 0.17870527992249619, "learning_rate": 3.764147236802459e-05, "seed": 1655443555}');
INSERT INTO public.trial_system_attributes VALUES (8, 20, 'fixed_params', '{"mask_ratio": 0.43896284169091826, "lpa_iterations": 1, "temperature": 0.061917868138272554, "learning_rate": 5.203224046124364e-05, "seed": 1655443555}');
INSERT INTO public.trial_system_attributes VALUES (9, 21, 'fixed_params', '{"mask_ratio": 0.5446447009316294, "lpa_iterations": 2, "temperature": 0.17870527992249619, "learning_rate": 3.764147236802459e-05, "seed": 1139015161}');
INSERT INTO public.trial_system_attributes VALUES (10, 22, 'fixed_params', '{"mask_ratio": 0.43896284169091826, "lpa_iterations": 1, "temperature": 0.061917868138272554, "learning_rate": 5.203224046124364e-05, "seed": 1139015161}');
INSERT INTO public.trial_user_attributes VALUES (1, 1, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (2, 1, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (3, 1, 'epochs', '8');
INSERT INTO public.trial_user_attributes VALUES (4, 1, 'seconds', '0.33');
INSERT INTO public.trial_user_attributes VALUES (5, 1, 'metrics', '{"train_loss": 0.3721492378067792, "train_ce": 0.3367866405491215, "val_loss": 0.42098330068640183, "val_accuracy": 0.6564010627648407, "val_macro_f1": 0.6520907549448295, "val_silhouette": 0.12780130827377284, "learning_rate": 0.0, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.3873046366314897}');
INSERT INTO public.trial_user_attributes VALUES (6, 1, 'best_epoch', '8');
INSERT INTO public.trial_user_attributes VALUES (7, 2, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (8, 2, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (9, 2, 'epochs', '7');
INSERT INTO public.trial_user_attributes VALUES (10, 2, 'seconds', '0.136');
INSERT INTO public.trial_user_attributes VALUES (11, 2, 'metrics', '{"train_loss": 0.21267049693867507, "train_ce": 0.19246198817979646, "val_loss": 0.24057748522474556, "val_accuracy": 0.7861737262401112, "val_macro_f1": 0.782863346034934, "val_silhouette": 0.2246329216203089, "learning_rate": 2.2072946778540602e-05, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.22133128640676591}');
INSERT INTO public.trial_user_attributes VALUES (12, 2, 'best_epoch', '4');
INSERT INTO public.trial_user_attributes VALUES (13, 3, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (14, 3, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (15, 3, 'epochs', '5');
INSERT INTO public.trial_user_attributes VALUES (16, 3, 'seconds', '0.099');
INSERT INTO public.trial_user_attributes VALUES (17, 3, 'metrics', '{"train_loss": 0.22873535885395851, "train_ce": 0.2070003247547136, "val_loss": 0.258750405943392, "val_accuracy": 0.7720156895262127, "val_macro_f1": 0.7665077318197449, "val_silhouette": 0.21623845722841137, "learning_rate": 0.0005733822148881874, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.2380503734679206}');
INSERT INTO public.trial_user_attributes VALUES (18, 3, 'best_epoch', '2');
INSERT INTO public.trial_user_attributes VALUES (19, 4, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (20, 4, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (21, 4, 'epochs', '8');
INSERT INTO public.trial_user_attributes VALUES (22, 4, 'seconds', '0.151');
INSERT INTO public.trial_user_attributes VALUES (23, 4, 'metrics', '{"train_loss": 0.4436855288728701, "train_ce": 0.4015253654958101, "val_loss": 0.5019067068697626, "val_accuracy": 0.6053752853671718, "val_macro_f1": 0.6018704961235588, "val_silhouette": 0.08386228412162532, "learning_rate": 2.9548954357955094e-07, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.4617541703201815}');
INSERT INTO public.trial_user_attributes VALUES (24, 4, 'best_epoch', '7');
INSERT INTO public.trial_user_attributes VALUES (25, 5, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (26, 5, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (27, 5, 'epochs', '6');
INSERT INTO public.trial_user_attributes VALUES (28, 5, 'seconds', '0.108');
INSERT INTO public.trial_user_attributes VALUES (29, 5, 'metrics', '{"train_loss": 0.20979063040755408, "train_ce": 0.18985577412448335, "val_loss": 0.23731971765560417, "val_accuracy": 0.7887390738935153, "val_macro_f1": 0.7846607591672263, "val_silhouette": 0.22961104051418063, "learning_rate": 0.0002396107007151994, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.21833414024315584}');
INSERT INTO public.trial_user_attributes VALUES (30, 5, 'best_epoch', '3');
INSERT INTO public.trial_user_attributes VALUES (31, 6, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (32, 6, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (33, 6, 'epochs', '6');
INSERT INTO public.trial_user_attributes VALUES (34, 6, 'seconds', '0.158');
INSERT INTO public.trial_user_attributes VALUES (35, 6, 'metrics', '{"train_loss": 0.2675640129803127, "train_ce": 0.2421393782627264, "val_loss": 0.302674222828408, "val_accuracy": 0.7388397542933388, "val_macro_f1": 0.7325209153307786, "val_silhouette": 0.19349885624763552, "learning_rate": 0.00044128830757710015, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.2784602850021353}');
INSERT INTO public.trial_user_attributes VALUES (36, 6, 'best_epoch', '3');
INSERT INTO public.trial_user_attributes VALUES (37, 7, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (38, 7, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (39, 7, 'epochs', '8');
INSERT INTO public.trial_user_attributes VALUES (40, 7, 'seconds', '0.119');
INSERT INTO public.trial_user_attributes VALUES (41, 7, 'metrics', '{"train_loss": 0.2673908648110405, "train_ce": 0.2419826830869145, "val_loss": 0.30247835385864313, "val_accuracy": 0.7389844842484244, "val_macro_f1": 0.7363886700738321, "val_silhouette": 0.1881262672743553, "learning_rate": 0.0, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.27828008554995165}');
INSERT INTO public.trial_user_attributes VALUES (42, 7, 'best_epoch', '8');
INSERT INTO public.trial_user_attributes VALUES (43, 8, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (44, 8, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (45, 8, 'epochs', '8');
INSERT INTO public.trial_user_attributes VALUES (46, 8, 'seconds', '0.108');
INSERT INTO public.trial_user_attributes VALUES (47, 8, 'metrics', '{"train_loss": 0.20578036065444238, "train_ce": 0.1862265707280022, "val_loss": 0.23278321341000272, "val_accuracy": 0.7923253204118109, "val_macro_f1": 0.7898014917006622, "val_silhouette": 0.23428319948536672, "learning_rate": 1.9512090172966366e-05, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.2141605563372025}');
INSERT INTO public.trial_user_attributes VALUES (48, 8, 'best_epoch', '5');
INSERT INTO public.trial_user_attributes VALUES (49, 9, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (50, 9, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (51, 9, 'epochs', '8');
INSERT INTO public.trial_user_attributes VALUES (52, 9, 'seconds', '0.098');
INSERT INTO public.trial_user_attributes VALUES (53, 9, 'metrics', '{"train_loss": 0.2056674597898395, "train_ce": 0.18612439799985478, "val_loss": 0.23265549749981845, "val_accuracy": 0.7924265194234937, "val_macro_f1": 0.7898460614730427, "val_silhouette": 0.2376481043453743, "learning_rate": 1.4115552138009222e-05, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.21404305769983295}');
INSERT INTO public.trial_user_attributes VALUES (54, 9, 'best_epoch', '5');
INSERT INTO public.trial_user_attributes VALUES (55, 10, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (56, 10, 'worker', '"vm-16735-524a"');
INSERT INTO public.trial_user_attributes VALUES (57, 10, 'epochs', '7');
INSERT INTO public.trial_user_attributes VALUES (58, 10, 'seconds', '0.092');
INSERT INTO public.trial_user_attributes VALUES (59, 10, 'metrics', '{"train_loss": 0.23296682862188295, "train_ce": 0.21082970916007504, "val_loss": 0.2635371364500938, "val_accuracy": 0.7683290888945491, "val_macro_f1": 0.7615127223714816, "val_silhouette": 0.21511293647500088, "learning_rate": 2.910086556877944e-05, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.2424541655340863}');
INSERT INTO public.trial_user_attributes VALUES (60, 10, 'best_epoch', '4');
INSERT INTO public.trial_user_attributes VALUES (61, 11, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (62, 11, 'worker', '"failing"');
INSERT INTO public.trial_user_attributes VALUES (63, 11, 'epochs', '0');
INSERT INTO public.trial_user_attributes VALUES (64, 11, 'seconds', '1.5');
INSERT INTO public.trial_user_attributes VALUES (65, 11, 'error', '"NonFiniteLossError: the loss is nan in epoch 2"');
INSERT INTO public.trial_user_attributes VALUES (66, 12, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (67, 12, 'worker', '"lost"');
INSERT INTO public.trial_user_attributes VALUES (68, 13, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (69, 13, 'worker', '"preempted"');
INSERT INTO public.trial_user_attributes VALUES (70, 17, 'candidate', '8');
INSERT INTO public.trial_user_attributes VALUES (71, 18, 'candidate', '7');
INSERT INTO public.trial_user_attributes VALUES (72, 19, 'candidate', '8');
INSERT INTO public.trial_user_attributes VALUES (73, 20, 'candidate', '7');
INSERT INTO public.trial_user_attributes VALUES (74, 21, 'candidate', '8');
INSERT INTO public.trial_user_attributes VALUES (75, 22, 'candidate', '7');
INSERT INTO public.trial_user_attributes VALUES (76, 17, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (77, 17, 'worker', '"vm-17063-4ff4"');
INSERT INTO public.trial_user_attributes VALUES (78, 17, 'epochs', '8');
INSERT INTO public.trial_user_attributes VALUES (79, 17, 'seconds', '0.137');
INSERT INTO public.trial_user_attributes VALUES (80, 17, 'metrics', '{"train_loss": 0.20848645998729146, "train_ce": 0.18867552940026378, "val_loss": 0.23584441175032972, "val_accuracy": 0.7899035640853673, "val_macro_f1": 0.7827681786516234, "val_silhouette": 0.23373274736978347, "learning_rate": 1.4115552138009222e-05, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.21697685881030335}');
INSERT INTO public.trial_user_attributes VALUES (81, 17, 'best_epoch', '5');
INSERT INTO public.trial_user_attributes VALUES (82, 18, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (83, 18, 'worker', '"vm-17063-4ff4"');
INSERT INTO public.trial_user_attributes VALUES (84, 18, 'epochs', '8');
INSERT INTO public.trial_user_attributes VALUES (85, 18, 'seconds', '0.038');
INSERT INTO public.trial_user_attributes VALUES (86, 18, 'metrics', '{"train_loss": 0.20259694210327228, "train_ce": 0.18334564896223737, "val_loss": 0.2291820612027967, "val_accuracy": 0.7951837482159574, "val_macro_f1": 0.7907368717988318, "val_silhouette": 0.2363471265334747, "learning_rate": 1.9512090172966366e-05, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.21084749630657296}');
INSERT INTO public.trial_user_attributes VALUES (87, 18, 'best_epoch', '5');
INSERT INTO public.trial_user_attributes VALUES (88, 19, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (89, 19, 'worker', '"vm-17063-4ff4"');
INSERT INTO public.trial_user_attributes VALUES (90, 19, 'epochs', '8');
INSERT INTO public.trial_user_attributes VALUES (91, 19, 'seconds', '0.043');
INSERT INTO public.trial_user_attributes VALUES (92, 19, 'metrics', '{"train_loss": 0.20561244585574534, "train_ce": 0.1860746116341587, "val_loss": 0.23259326454269835, "val_accuracy": 0.7924758360036402, "val_macro_f1": 0.7897617469675536, "val_silhouette": 0.24008020809220462, "learning_rate": 9.410368092006148e-06, "train_docs_per_second": 100.0, "train_tokens_per_second": 2700.0, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": 0.0, "train_gloss": 0.2139858033792825}');
INSERT INTO public.trial_user_attributes VALUES (93, 19, 'best_epoch', '6');
INSERT INTO public.trial_values VALUES (1, 1, 0, 0.6520907549448295, 'FINITE');
INSERT INTO public.trial_values VALUES (2, 2, 0, 0.782863346034934, 'FINITE');
INSERT INTO public.trial_values VALUES (3, 3, 0, 0.7665077318197449, 'FINITE');
INSERT INTO public.trial_values VALUES (4, 4, 0, 0.6018704961235588, 'FINITE');
INSERT INTO public.trial_values VALUES (5, 5, 0, 0.7846607591672263, 'FINITE');
INSERT INTO public.trial_values VALUES (6, 6, 0, 0.7325209153307786, 'FINITE');
INSERT INTO public.trial_values VALUES (7, 7, 0, 0.7363886700738321, 'FINITE');
INSERT INTO public.trial_values VALUES (8, 8, 0, 0.7898014917006622, 'FINITE');
INSERT INTO public.trial_values VALUES (9, 9, 0, 0.7898460614730427, 'FINITE');
INSERT INTO public.trial_values VALUES (10, 10, 0, 0.7615127223714816, 'FINITE');
INSERT INTO public.trial_values VALUES (11, 17, 0, 0.7827681786516234, 'FINITE');
INSERT INTO public.trial_values VALUES (12, 18, 0, 0.7907368717988318, 'FINITE');
INSERT INTO public.trial_values VALUES (13, 19, 0, 0.7897617469675536, 'FINITE');
INSERT INTO public.trials VALUES (14, 13, 1, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (15, 14, 1, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (16, 15, 1, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (1, 0, 1, 'COMPLETE', '2026-11-25 03:40:53.773821', '2026-11-25 03:40:54.159399');
INSERT INTO public.trials VALUES (2, 1, 1, 'COMPLETE', '2026-11-25 03:40:54.201552', '2026-11-25 03:40:54.427676');
INSERT INTO public.trials VALUES (3, 2, 1, 'COMPLETE', '2026-11-25 03:40:54.450062', '2026-11-25 03:40:54.581539');
INSERT INTO public.trials VALUES (4, 3, 1, 'COMPLETE', '2026-11-25 03:40:54.595631', '2026-11-25 03:40:54.781522');
INSERT INTO public.trials VALUES (5, 4, 1, 'COMPLETE', '2026-11-25 03:40:54.826839', '2026-11-25 03:40:55.00952');
INSERT INTO public.trials VALUES (6, 5, 1, 'COMPLETE', '2026-11-25 03:40:55.033573', '2026-11-25 03:40:55.257538');
INSERT INTO public.trials VALUES (7, 6, 1, 'COMPLETE', '2026-11-25 03:40:55.273541', '2026-11-25 03:40:55.447618');
INSERT INTO public.trials VALUES (8, 7, 1, 'COMPLETE', '2026-11-25 03:40:55.452135', '2026-11-25 03:40:55.597504');
INSERT INTO public.trials VALUES (9, 8, 1, 'COMPLETE', '2026-11-25 03:40:55.633583', '2026-11-25 03:40:55.769501');
INSERT INTO public.trials VALUES (10, 9, 1, 'COMPLETE', '2026-11-25 03:40:55.780093', '2026-11-25 03:40:55.903638');
INSERT INTO public.trials VALUES (11, 10, 1, 'FAIL', '2026-11-25 03:40:57.695249', '2026-11-25 03:40:57.853563');
INSERT INTO public.trials VALUES (12, 11, 1, 'RUNNING', '2026-11-25 03:40:57.861531', NULL);
INSERT INTO public.trials VALUES (13, 12, 1, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (20, 3, 2, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (21, 4, 2, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (22, 5, 2, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (17, 0, 2, 'COMPLETE', '2026-11-25 03:41:05.959386', '2026-11-25 03:41:06.137897');
INSERT INTO public.trials VALUES (18, 1, 2, 'COMPLETE', '2026-11-25 03:41:06.145557', '2026-11-25 03:41:06.220053');
INSERT INTO public.trials VALUES (19, 2, 2, 'COMPLETE', '2026-11-25 03:41:06.230141', '2026-11-25 03:41:06.297892');
INSERT INTO public.version_info VALUES (1, 12, '5.0.0');
SELECT pg_catalog.setval('public.studies_study_id_seq', 2, true);
SELECT pg_catalog.setval('public.study_directions_study_direction_id_seq', 2, true);
SELECT pg_catalog.setval('public.study_system_attributes_study_system_attribute_id_seq', 17, true);
SELECT pg_catalog.setval('public.study_user_attributes_study_user_attribute_id_seq', 13, true);
SELECT pg_catalog.setval('public.trial_heartbeats_trial_heartbeat_id_seq', 16, true);
SELECT pg_catalog.setval('public.trial_intermediate_values_trial_intermediate_value_id_seq', 97, true);
SELECT pg_catalog.setval('public.trial_params_param_id_seq', 67, true);
SELECT pg_catalog.setval('public.trial_system_attributes_trial_system_attribute_id_seq', 10, true);
SELECT pg_catalog.setval('public.trial_user_attributes_trial_user_attribute_id_seq', 93, true);
SELECT pg_catalog.setval('public.trial_values_trial_value_id_seq', 13, true);
SELECT pg_catalog.setval('public.trials_trial_id_seq', 22, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.studies
    ADD CONSTRAINT studies_pkey PRIMARY KEY (study_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_pkey PRIMARY KEY (study_direction_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_study_id_objective_key UNIQUE (study_id, objective);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_pkey PRIMARY KEY (study_system_attribute_id);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_study_id_key_key UNIQUE (study_id, key);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_pkey PRIMARY KEY (study_user_attribute_id);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_study_id_key_key UNIQUE (study_id, key);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_pkey PRIMARY KEY (trial_heartbeat_id);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_trial_id_key UNIQUE (trial_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_pkey PRIMARY KEY (trial_intermediate_value_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_trial_id_step_key UNIQUE (trial_id, step);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_pkey PRIMARY KEY (param_id);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_trial_id_param_name_key UNIQUE (trial_id, param_name);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_pkey PRIMARY KEY (trial_system_attribute_id);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_trial_id_key_key UNIQUE (trial_id, key);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_pkey PRIMARY KEY (trial_user_attribute_id);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_trial_id_key_key UNIQUE (trial_id, key);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_pkey PRIMARY KEY (trial_value_id);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_trial_id_objective_key UNIQUE (trial_id, objective);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_pkey PRIMARY KEY (trial_id);
ALTER TABLE ONLY public.version_info
    ADD CONSTRAINT version_info_pkey PRIMARY KEY (version_info_id);
CREATE UNIQUE INDEX ix_studies_study_name ON public.studies USING btree (study_name);
CREATE INDEX ix_trials_study_id ON public.trials USING btree (study_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
