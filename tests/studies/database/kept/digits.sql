BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'digits');
INSERT INTO "studies" VALUES(2,'digits-screening');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MINIMIZE',2,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'study:metric_names','["accuracy"]');
INSERT INTO "study_system_attributes" VALUES(2,1,'artifacts:d5362ae6-2469-4a8c-b57f-82526868d3c1','"{\"artifact_id\": \"d5362ae6-2469-4a8c-b57f-82526868d3c1\", \"filename\": \"digits-baseline.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "study_system_attributes" VALUES(3,2,'study:metric_names','["loss"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'definition','{"study": {"name": "digits", "objectives": ["accuracy"], "budget": {"macs": 0.15, "parameters": null, "latency": null}, "trials": 2, "seed": 0}, "model": {"factory": "vgg_digits", "width": 0.0625}, "data": {"name": "digits", "root": "data", "limit": null, "validation": 0.2, "augment": true}, "baseline": {"epochs": 2, "checkpoint": null, "batch_size": 64, "lr": 0.1, "weight_decay": 0.0005}, "trial": {"epochs": 1, "compute": null, "batch_size": 64, "calibration_examples": 64, "recalibration_batches": 8}, "space": {"schedule": {"shape": ["linear"], "fade": {"low": 0.1, "high": 0.8}, "defaults": false}, "stages": {"count": {"low": 1, "high": 3}, "order": ["forward", "backward", "sensitivity", "cost"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "keep": {"per": "layer", "range": {"low": 0.1, "high": 1.0}, "threshold": {"low": 0.003, "high": 0.3, "log": true}, "strength": {"low": 0.0, "high": 2.0}, "tilt": {"low": -1.5, "high": 1.5}, "multiple": 1, "layers": {}}, "initialisation": {"method": "least-squares", "channels": "greedy"}, "blending": {"mode": ["convex", "probability", "uniform"], "zero_loss": 0.0}, "training": {"lr": {"low": 0.003, "high": 0.1, "log": true}, "rates": "one-cycle", "restarts": ["none", "stages"], "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}}, "screening": {"candidates": 2, "start": 3, "margin": 0.2}, "search": {"sampler": "tpe", "pruner": "median", "startup_trials": 8, "recipes": ["fold-at-once", "probability", "report"]}}');
INSERT INTO "study_user_attributes" VALUES(2,1,'fingerprint','{"study": {"name": "digits", "objectives": ["accuracy"], "budget": {"macs": 0.15, "parameters": null, "latency": null}, "seed": 0}, "model": {"factory": "vgg_digits", "width": 0.0625}, "data": {"name": "digits", "limit": null, "validation": 0.2, "augment": true}, "baseline": {"epochs": 2, "checkpoint": null, "batch_size": 64, "lr": 0.1, "weight_decay": 0.0005}, "trial": {"epochs": 1, "compute": null, "batch_size": 64, "calibration_examples": 64, "recalibration_batches": 8}, "space": {"schedule": {"shape": ["linear"], "fade": {"low": 0.1, "high": 0.8}, "defaults": false}, "stages": {"count": {"low": 1, "high": 3}, "order": ["forward", "backward", "sensitivity", "cost"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "keep": {"per": "layer", "range": {"low": 0.1, "high": 1.0}, "threshold": {"low": 0.003, "high": 0.3, "log": true}, "strength": {"low": 0.0, "high": 2.0}, "tilt": {"low": -1.5, "high": 1.5}, "multiple": 1, "layers": {}}, "initialisation": {"method": "least-squares", "channels": "greedy"}, "blending": {"mode": ["convex", "probability", "uniform"], "zero_loss": 0.0}, "training": {"lr": {"low": 0.003, "high": 0.1, "log": true}, "rates": "one-cycle", "restarts": ["none", "stages"], "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}}, "screening": {"candidates": 2, "start": 3, "margin": 0.2}, "search": {"sampler": "tpe", "pruner": "median", "startup_trials": 8, "recipes": ["fold-at-once", "probability", "report"]}}');
INSERT INTO "study_user_attributes" VALUES(3,1,'network','"d5362ae6-2469-4a8c-b57f-82526868d3c1"');
INSERT INTO "study_user_attributes" VALUES(4,1,'baseline','{"accuracy": 0.4027777777777778, "examples": 288, "macs": 10688, "parameters": 1520, "source": "2 epochs", "network": "d5362ae6-2469-4a8c-b57f-82526868d3c1"}');
INSERT INTO "study_user_attributes" VALUES(5,2,'companion','"screening"');
INSERT INTO "study_user_attributes" VALUES(6,2,'definition','{"study": {"name": "digits-screening", "objectives": ["accuracy"], "budget": {"macs": 0.15, "parameters": null, "latency": null}, "trials": 2, "seed": 0}, "model": {"factory": "vgg_digits", "width": 0.0625}, "data": {"name": "digits", "root": "data", "limit": null, "validation": 0.2, "augment": true}, "baseline": {"epochs": 2, "checkpoint": null, "batch_size": 64, "lr": 0.1, "weight_decay": 0.0005}, "trial": {"epochs": 1, "compute": null, "batch_size": 64, "calibration_examples": 64, "recalibration_batches": 8}, "space": {"schedule": {"shape": ["linear"], "fade": {"low": 0.1, "high": 0.8}, "defaults": false}, "stages": {"count": {"low": 1, "high": 3}, "order": ["forward", "backward", "sensitivity", "cost"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "keep": {"per": "layer", "range": {"low": 0.1, "high": 1.0}, "threshold": {"low": 0.003, "high": 0.3, "log": true}, "strength": {"low": 0.0, "high": 2.0}, "tilt": {"low": -1.5, "high": 1.5}, "multiple": 1, "layers": {}}, "initialisation": {"method": "least-squares", "channels": "greedy"}, "blending": {"mode": ["convex", "probability", "uniform"], "zero_loss": 0.0}, "training": {"lr": {"low": 0.003, "high": 0.1, "log": true}, "rates": "one-cycle", "restarts": ["none", "stages"], "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}}, "screening": {"candidates": 2, "start": 3, "margin": 0.2}, "search": {"sampler": "tpe", "pruner": "median", "startup_trials": 8, "recipes": ["fold-at-once", "probability", "report"]}}');
INSERT INTO "study_user_attributes" VALUES(7,2,'baseline','{"accuracy": 0.4027777777777778, "examples": 288, "macs": 10688, "parameters": 1520, "source": "2 epochs", "network": "d5362ae6-2469-4a8c-b57f-82526868d3c1"}');
INSERT INTO "study_user_attributes" VALUES(8,1,'prepared','{"shares": {"keep.features.0": {"low": 0.4, "high": 0.6}, "keep.features.3": {"low": 0.4, "high": 0.6}, "keep.features.7": {"low": 0.2, "high": 0.3}, "keep.features.10": {"low": 0.2, "high": 0.3}, "keep.features.14": {"low": 0.1, "high": 0.15}, "keep.features.17": {"low": 0.1, "high": 0.15}}, "starts": [{"keep.features.0": 0.5, "keep.features.3": 0.5, "keep.features.7": 0.25, "keep.features.10": 0.25, "keep.features.14": 0.125, "keep.features.17": 0.125}]}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_heartbeats" VALUES(1,1,'2026-11-24 06:34:43');
INSERT INTO "trial_heartbeats" VALUES(2,2,'2026-11-24 06:34:43');
INSERT INTO "trial_heartbeats" VALUES(3,3,'2026-11-24 06:34:43');
INSERT INTO "trial_heartbeats" VALUES(4,4,'2026-11-24 06:34:44');
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,3,0,1.42361111111111104943e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,3,1,1.59722222222222209886e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,4,0,1.42361111111111104943e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,4,1,1.70138888888888895056e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'keep.features.0',0.55,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(2,1,'keep.features.3',0.55,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(3,1,'keep.features.7',0.55,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(4,1,'keep.features.10',0.55,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(5,1,'keep.features.14',0.55,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(6,1,'keep.features.17',0.55,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(7,2,'keep.features.0',5.93932153534592277566e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(8,2,'keep.features.3',7.43670429735177496155e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(9,2,'keep.features.7',6.42487038464479520705e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(10,2,'keep.features.10',5.90394864697207144565e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(11,2,'keep.features.14',4.81289319405014293096e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(12,2,'keep.features.17',6.81304701759990471998e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(13,3,'schedule.shape',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["linear"]}}');
INSERT INTO "trial_params" VALUES(14,3,'keep.features.0',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 0.6, "log": false}}');
INSERT INTO "trial_params" VALUES(15,3,'keep.features.3',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 0.6, "log": false}}');
INSERT INTO "trial_params" VALUES(16,3,'keep.features.7',0.25,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.2, "high": 0.3, "log": false}}');
INSERT INTO "trial_params" VALUES(17,3,'keep.features.10',0.25,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.2, "high": 0.3, "log": false}}');
INSERT INTO "trial_params" VALUES(18,3,'keep.features.14',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.15, "log": false}}');
INSERT INTO "trial_params" VALUES(19,3,'keep.features.17',0.125,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.15, "log": false}}');
INSERT INTO "trial_params" VALUES(20,3,'schedule.fade',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.8, "log": false}}');
INSERT INTO "trial_params" VALUES(21,3,'training.lr',0.05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.003, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(22,3,'training.restarts',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "stages"]}}');
INSERT INTO "trial_params" VALUES(23,3,'stages.count',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 3}}');
INSERT INTO "trial_params" VALUES(24,3,'blending.mode',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["convex", "probability", "uniform"]}}');
INSERT INTO "trial_params" VALUES(25,4,'schedule.shape',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["linear"]}}');
INSERT INTO "trial_params" VALUES(26,4,'keep.features.0',4.63418507830087533783e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 0.6, "log": false}}');
INSERT INTO "trial_params" VALUES(27,4,'keep.features.3',5.29883802788871594025e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 0.6, "log": false}}');
INSERT INTO "trial_params" VALUES(28,4,'keep.features.7',2.709472636050522798e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.2, "high": 0.3, "log": false}}');
INSERT INTO "trial_params" VALUES(29,4,'keep.features.10',0.225313376974122,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.2, "high": 0.3, "log": false}}');
INSERT INTO "trial_params" VALUES(30,4,'keep.features.14',1.21338013793157922792e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.15, "log": false}}');
INSERT INTO "trial_params" VALUES(31,4,'keep.features.17',1.40979939749339339138e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.15, "log": false}}');
INSERT INTO "trial_params" VALUES(32,4,'schedule.fade',3.42685866839034958264e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.8, "log": false}}');
INSERT INTO "trial_params" VALUES(33,4,'training.lr',1.85190595614262397405e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.003, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(34,4,'training.restarts',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "stages"]}}');
INSERT INTO "trial_params" VALUES(35,4,'stages.count',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 3}}');
INSERT INTO "trial_params" VALUES(36,4,'stages.order',3.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["forward", "backward", "sensitivity", "cost"]}}');
INSERT INTO "trial_params" VALUES(37,4,'blending.mode',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["convex", "probability", "uniform"]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'fixed_params','{"keep.features.0": 0.55, "keep.features.3": 0.55, "keep.features.7": 0.55, "keep.features.10": 0.55, "keep.features.14": 0.55, "keep.features.17": 0.55}');
INSERT INTO "trial_system_attributes" VALUES(2,3,'fixed_params','{"schedule.shape": "linear", "schedule.fade": 0.5, "blending.mode": "probability", "stages.count": 1, "training.lr": 0.05, "keep.features.0": 0.5, "keep.features.3": 0.5, "keep.features.7": 0.25, "keep.features.10": 0.25, "keep.features.14": 0.125, "keep.features.17": 0.125}');
INSERT INTO "trial_system_attributes" VALUES(3,3,'artifacts:1183f974-d4fb-45e8-a80b-248d8c1df6af','"{\"artifact_id\": \"1183f974-d4fb-45e8-a80b-248d8c1df6af\", \"filename\": \"digits-trial-0.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(4,4,'artifacts:751f6ad6-ffba-4a8e-991b-0fb90139b80f','"{\"artifact_id\": \"751f6ad6-ffba-4a8e-991b-0fb90139b80f\", \"filename\": \"digits-trial-1.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'widths','{"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}');
INSERT INTO "trial_user_attributes" VALUES(2,2,'widths','{"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}');
INSERT INTO "trial_user_attributes" VALUES(3,3,'recipe','{"shape": "linear", "parameters": {}, "fade": 0.5, "widths": {"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}, "training": {"lr": 0.05, "rates": "one-cycle", "restarts": "none", "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}, "stages": {"count": 1, "order": "forward", "sequence": ["features.0", "features.3", "features.7", "features.10", "features.14", "features.17"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "method": "least-squares", "channels": "greedy", "blending": "probability", "zero_loss": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(4,3,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(5,3,'versions','{"python": "3.11.7", "branchfold": "0.1.0", "torch": "2.14.1", "pytorch-lightning": "2.6.6", "optuna": "5.0.0"}');
INSERT INTO "trial_user_attributes" VALUES(6,3,'network','"1183f974-d4fb-45e8-a80b-248d8c1df6af"');
INSERT INTO "trial_user_attributes" VALUES(7,3,'folding_error','8.4601209618138e-16');
INSERT INTO "trial_user_attributes" VALUES(8,3,'compute','0.6007602186930487');
INSERT INTO "trial_user_attributes" VALUES(9,3,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "accuracy": 0.4027777777777778, "folded_accuracy": 0.1423611111111111}, {"number": 1, "compute": 0.6007602186930487, "alpha": 0.0, "accuracy": 0.1597222222222222, "folded_accuracy": 0.1597222222222222, "loss": 2.21673583984375}]');
INSERT INTO "trial_user_attributes" VALUES(10,3,'accuracy','0.1597222222222222');
INSERT INTO "trial_user_attributes" VALUES(11,3,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(12,3,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(13,3,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(14,3,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(15,3,'latency','0.14619183800004976');
INSERT INTO "trial_user_attributes" VALUES(16,3,'latency_share','0.9594742632817996');
INSERT INTO "trial_user_attributes" VALUES(17,4,'recipe','{"shape": "linear", "parameters": {}, "fade": 0.34268586683903496, "widths": {"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}, "training": {"lr": 0.01851905956142624, "rates": "one-cycle", "restarts": "none", "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}, "stages": {"count": 2, "order": "cost", "sequence": ["features.14", "features.7", "features.10", "features.17", "features.0", "features.3"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "method": "least-squares", "channels": "greedy", "blending": "convex", "zero_loss": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(18,4,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(19,4,'versions','{"python": "3.11.7", "branchfold": "0.1.0", "torch": "2.14.1", "pytorch-lightning": "2.6.6", "optuna": "5.0.0"}');
INSERT INTO "trial_user_attributes" VALUES(20,4,'network','"751f6ad6-ffba-4a8e-991b-0fb90139b80f"');
INSERT INTO "trial_user_attributes" VALUES(21,4,'folding_error','8.290624014945362e-16');
INSERT INTO "trial_user_attributes" VALUES(22,4,'compute','0.34588909138245255');
INSERT INTO "trial_user_attributes" VALUES(23,4,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "accuracy": 0.4027777777777778, "folded_accuracy": 0.1423611111111111}, {"number": 1, "compute": 0.34588909138245255, "alpha": 0.0, "accuracy": 0.1701388888888889, "folded_accuracy": 0.1701388888888889, "loss": 2.212484836578369}]');
INSERT INTO "trial_user_attributes" VALUES(24,4,'accuracy','0.1701388888888889');
INSERT INTO "trial_user_attributes" VALUES(25,4,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(26,4,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(27,4,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(28,4,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(29,4,'latency','0.13865330099997664');
INSERT INTO "trial_user_attributes" VALUES(30,4,'latency_share','0.9253495849451836');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,2.27631145053439665204e+00,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,2.27631145053439665204e+00,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,1.59722222222222209886e-01,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,1.70138888888888895056e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,2,'COMPLETE','2026-11-24 06:34:43.543893','2026-11-24 06:34:43.607786');
INSERT INTO "trials" VALUES(2,1,2,'COMPLETE','2026-11-24 06:34:43.618042','2026-11-24 06:34:43.633303');
INSERT INTO "trials" VALUES(3,0,1,'COMPLETE','2026-11-24 06:34:43.655536','2026-11-24 06:34:44.577764');
INSERT INTO "trials" VALUES(4,1,1,'COMPLETE','2026-11-24 06:34:44.584449','2026-11-24 06:34:45.464616');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
