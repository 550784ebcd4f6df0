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
INSERT INTO "studies" VALUES(3,'digits-refined');
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
INSERT INTO "study_directions" VALUES(3,'MAXIMIZE',3,0);
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
INSERT INTO "study_system_attributes" VALUES(2,1,'artifacts:116e5379-1f25-4b14-a09a-eda9255e9304','"{\"artifact_id\": \"116e5379-1f25-4b14-a09a-eda9255e9304\", \"filename\": \"digits-baseline.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "study_system_attributes" VALUES(3,2,'study:metric_names','["loss"]');
INSERT INTO "study_system_attributes" VALUES(4,3,'study:metric_names','["accuracy"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'identity','"65e4dbbb80504e309ff5505a026f0de3"');
INSERT INTO "study_user_attributes" VALUES(2,1,'metric','{"name": "accuracy", "higher_is_better": true, "kind": "share", "unit": "%"}');
INSERT INTO "study_user_attributes" VALUES(3,1,'definition','{"study": {"name": "digits", "objectives": ["accuracy"], "budget": {"macs": 0.15, "parameters": null, "latency": null}, "trials": 3, "seed": 0}, "model": {"factory": "vgg_digits", "width": 0.0625}, "data": {"name": "digits", "root": "/home/me/data", "limit": null, "validation": 0.2, "test": 0.15, "size": null, "resize": "crop", "greyscale": false, "flips": true, "augment": true, "normalisation": null, "workers": null}, "task": {"name": "classification"}, "baseline": {"epochs": 2, "checkpoint": null, "weights": null, "batch_size": 64, "lr": 0.1, "weight_decay": 0.0005}, "trial": {"epochs": 1, "compute": null, "batch_size": 64, "calibration_examples": 64, "recalibration_batches": 8, "device": "auto", "precision": "auto", "memory_format": "auto"}, "space": {"schedule": {"shape": ["linear"], "fade": {"low": 0.1, "high": 0.8}, "defaults": false}, "stages": {"count": {"low": 1, "high": 3}, "order": ["forward", "backward", "sensitivity", "cost"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "keep": {"per": "layer", "range": {"low": 0.1, "high": 1.0}, "threshold": {"low": 0.003, "high": 0.3, "log": true}, "strength": {"low": 0.0, "high": 2.0}, "tilt": {"low": -1.5, "high": 1.5}, "multiple": 1, "layers": {}}, "initialisation": {"method": "least-squares", "channels": "greedy"}, "blending": {"mode": ["convex", "probability", "uniform"], "zero_loss": 0.0}, "training": {"lr": {"low": 0.003, "high": 0.1, "log": true}, "rates": "one-cycle", "restarts": ["none", "stages"], "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}}, "screening": {"candidates": 2, "start": 3, "margin": 0.2}, "search": {"sampler": "tpe", "pruner": "median", "startup_trials": 8, "recipes": ["fold-at-once", "probability", "report"], "finalists": 2}}');
INSERT INTO "study_user_attributes" VALUES(4,1,'fingerprint','{"study": {"name": "digits", "objectives": ["accuracy"], "budget": {"macs": 0.15, "parameters": null, "latency": null}, "seed": 0}, "model": {"factory": "vgg_digits", "width": 0.0625}, "data": {"name": "digits", "limit": null, "validation": 0.2, "test": 0.15, "size": null, "resize": "crop", "greyscale": false, "flips": true, "augment": true, "normalisation": null}, "task": {"name": "classification"}, "baseline": {"epochs": 2, "checkpoint": null, "weights": null, "batch_size": 64, "lr": 0.1, "weight_decay": 0.0005}, "trial": {"epochs": 1, "compute": null, "batch_size": 64, "calibration_examples": 64, "recalibration_batches": 8, "precision": "auto", "memory_format": "auto"}, "space": {"schedule": {"shape": ["linear"], "fade": {"low": 0.1, "high": 0.8}, "defaults": false}, "stages": {"count": {"low": 1, "high": 3}, "order": ["forward", "backward", "sensitivity", "cost"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "keep": {"per": "layer", "range": {"low": 0.1, "high": 1.0}, "threshold": {"low": 0.003, "high": 0.3, "log": true}, "strength": {"low": 0.0, "high": 2.0}, "tilt": {"low": -1.5, "high": 1.5}, "multiple": 1, "layers": {}}, "initialisation": {"method": "least-squares", "channels": "greedy"}, "blending": {"mode": ["convex", "probability", "uniform"], "zero_loss": 0.0}, "training": {"lr": {"low": 0.003, "high": 0.1, "log": true}, "rates": "one-cycle", "restarts": ["none", "stages"], "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}}, "screening": {"candidates": 2, "start": 3, "margin": 0.2}, "search": {"sampler": "tpe", "pruner": "median", "startup_trials": 8, "recipes": ["fold-at-once", "probability", "report"]}}');
INSERT INTO "study_user_attributes" VALUES(5,1,'network','"116e5379-1f25-4b14-a09a-eda9255e9304"');
INSERT INTO "study_user_attributes" VALUES(6,1,'baseline','{"metric": 0.4027777777777778, "interval": [0.3477731526632143, 0.4603418416001398], "examples": 288, "macs": 10688, "parameters": 1520, "source": "2 epochs", "arithmetic": {"precision": "float32", "memory_format": "contiguous"}, "network": "116e5379-1f25-4b14-a09a-eda9255e9304"}');
INSERT INTO "study_user_attributes" VALUES(7,2,'definition','{"study": {"name": "digits-screening", "objectives": ["accuracy"], "budget": {"macs": 0.15, "parameters": null, "latency": null}, "trials": 3, "seed": 0}, "model": {"factory": "vgg_digits", "width": 0.0625}, "data": {"name": "digits", "root": "/home/me/data", "limit": null, "validation": 0.2, "test": 0.15, "size": null, "resize": "crop", "greyscale": false, "flips": true, "augment": true, "normalisation": null, "workers": null}, "task": {"name": "classification"}, "baseline": {"epochs": 2, "checkpoint": null, "weights": null, "batch_size": 64, "lr": 0.1, "weight_decay": 0.0005}, "trial": {"epochs": 1, "compute": null, "batch_size": 64, "calibration_examples": 64, "recalibration_batches": 8, "device": "auto", "precision": "auto", "memory_format": "auto"}, "space": {"schedule": {"shape": ["linear"], "fade": {"low": 0.1, "high": 0.8}, "defaults": false}, "stages": {"count": {"low": 1, "high": 3}, "order": ["forward", "backward", "sensitivity", "cost"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "keep": {"per": "layer", "range": {"low": 0.1, "high": 1.0}, "threshold": {"low": 0.003, "high": 0.3, "log": true}, "strength": {"low": 0.0, "high": 2.0}, "tilt": {"low": -1.5, "high": 1.5}, "multiple": 1, "layers": {}}, "initialisation": {"method": "least-squares", "channels": "greedy"}, "blending": {"mode": ["convex", "probability", "uniform"], "zero_loss": 0.0}, "training": {"lr": {"low": 0.003, "high": 0.1, "log": true}, "rates": "one-cycle", "restarts": ["none", "stages"], "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}}, "screening": {"candidates": 2, "start": 3, "margin": 0.2}, "search": {"sampler": "tpe", "pruner": "median", "startup_trials": 8, "recipes": ["fold-at-once", "probability", "report"], "finalists": 2}}');
INSERT INTO "study_user_attributes" VALUES(8,2,'identity','"65e4dbbb80504e309ff5505a026f0de3"');
INSERT INTO "study_user_attributes" VALUES(9,2,'metric','{"name": "accuracy", "higher_is_better": true, "kind": "share", "unit": "%"}');
INSERT INTO "study_user_attributes" VALUES(10,2,'baseline','{"metric": 0.4027777777777778, "interval": [0.3477731526632143, 0.4603418416001398], "examples": 288, "macs": 10688, "parameters": 1520, "source": "2 epochs", "arithmetic": {"precision": "float32", "memory_format": "contiguous"}, "network": "116e5379-1f25-4b14-a09a-eda9255e9304"}');
INSERT INTO "study_user_attributes" VALUES(11,2,'companion','"screening"');
INSERT INTO "study_user_attributes" VALUES(12,2,'begun','"process 30966 on vm"');
INSERT INTO "study_user_attributes" VALUES(13,1,'queueing','"process 30966 on vm"');
INSERT INTO "study_user_attributes" VALUES(14,1,'prepared','{"shares": {"keep.features.0": {"low": 0.4, "high": 0.6}, "keep.features.3": {"low": 0.4, "high": 0.6}, "keep.features.7": {"low": 0.2, "high": 0.3}, "keep.features.10": {"low": 0.2, "high": 0.3}, "keep.features.14": {"low": 0.1, "high": 0.15}, "keep.features.17": {"low": 0.1, "high": 0.15}}, "starts": [{"keep.features.0": 0.5, "keep.features.3": 0.5, "keep.features.7": 0.25, "keep.features.10": 0.25, "keep.features.14": 0.125, "keep.features.17": 0.125}]}');
INSERT INTO "study_user_attributes" VALUES(15,3,'definition','{"study": {"name": "digits-refined", "objectives": ["accuracy"], "budget": {"macs": 0.15, "parameters": null, "latency": null}, "trials": 3, "seed": 0}, "model": {"factory": "vgg_digits", "width": 0.0625}, "data": {"name": "digits", "root": "/home/me/data", "limit": null, "validation": 0.2, "test": 0.15, "size": null, "resize": "crop", "greyscale": false, "flips": true, "augment": true, "normalisation": null, "workers": null}, "task": {"name": "classification"}, "baseline": {"epochs": 2, "checkpoint": null, "weights": null, "batch_size": 64, "lr": 0.1, "weight_decay": 0.0005}, "trial": {"epochs": 1, "compute": null, "batch_size": 64, "calibration_examples": 64, "recalibration_batches": 8, "device": "auto", "precision": "auto", "memory_format": "auto"}, "space": {"schedule": {"shape": ["linear"], "fade": {"low": 0.1, "high": 0.8}, "defaults": false}, "stages": {"count": {"low": 1, "high": 3}, "order": ["forward", "backward", "sensitivity", "cost"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "keep": {"per": "layer", "range": {"low": 0.1, "high": 1.0}, "threshold": {"low": 0.003, "high": 0.3, "log": true}, "strength": {"low": 0.0, "high": 2.0}, "tilt": {"low": -1.5, "high": 1.5}, "multiple": 1, "layers": {}}, "initialisation": {"method": "least-squares", "channels": "greedy"}, "blending": {"mode": ["convex", "probability", "uniform"], "zero_loss": 0.0}, "training": {"lr": {"low": 0.003, "high": 0.1, "log": true}, "rates": "one-cycle", "restarts": ["none", "stages"], "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}}, "screening": {"candidates": 2, "start": 3, "margin": 0.2}, "search": {"sampler": "tpe", "pruner": "median", "startup_trials": 8, "recipes": ["fold-at-once", "probability", "report"], "finalists": 2}}');
INSERT INTO "study_user_attributes" VALUES(16,3,'identity','"65e4dbbb80504e309ff5505a026f0de3"');
INSERT INTO "study_user_attributes" VALUES(17,3,'metric','{"name": "accuracy", "higher_is_better": true, "kind": "share", "unit": "%"}');
INSERT INTO "study_user_attributes" VALUES(18,3,'baseline','{"metric": 0.4027777777777778, "interval": [0.3477731526632143, 0.4603418416001398], "examples": 288, "macs": 10688, "parameters": 1520, "source": "2 epochs", "arithmetic": {"precision": "float32", "memory_format": "contiguous"}, "network": "116e5379-1f25-4b14-a09a-eda9255e9304"}');
INSERT INTO "study_user_attributes" VALUES(19,3,'companion','"refined"');
INSERT INTO "study_user_attributes" VALUES(20,3,'export:c8c6125b139c2ddce357c269c1d5f264b6e4f06af0d086204a1623d1971483b6','{"trial": 0, "file": "digits.safetensors", "format": "safetensors", "size": 7424, "difference": 0.0, "runtime": "torch 2.14.1", "latency": null, "fuse": false, "with_normalisation": false}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_heartbeats" VALUES(1,1,'2026-11-24 14:32:02');
INSERT INTO "trial_heartbeats" VALUES(2,2,'2026-11-24 14:32:03');
INSERT INTO "trial_heartbeats" VALUES(3,3,'2026-11-24 14:32:03');
INSERT INTO "trial_heartbeats" VALUES(4,4,'2026-11-24 14:32:05');
INSERT INTO "trial_heartbeats" VALUES(5,5,'2026-11-24 14:32:07');
INSERT INTO "trial_heartbeats" VALUES(6,6,'2026-11-24 14:32:09');
INSERT INTO "trial_heartbeats" VALUES(7,7,'2026-11-24 14:32:11');
INSERT INTO "trial_heartbeats" VALUES(8,8,'2026-11-24 14:32:14');
INSERT INTO "trial_heartbeats" VALUES(9,9,'2026-11-24 14:32:16');
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
INSERT INTO "trial_intermediate_values" VALUES(2,3,1,1.52777777777777790113e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,4,0,1.42361111111111104943e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,4,1,1.70138888888888895056e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,5,0,1.42361111111111104943e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,5,1,1.52777777777777790113e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,6,0,1.42361111111111104943e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,6,1,1.90972222222222209886e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,7,0,1.42361111111111104943e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,7,1,1.77083333333333342585e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,8,0,1.42361111111111104943e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,8,1,1.90972222222222209886e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,9,0,1.42361111111111104943e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,9,1,1.00694444444444447528e-01,'FINITE');
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
INSERT INTO "trial_params" VALUES(38,5,'schedule.shape',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["linear"]}}');
INSERT INTO "trial_params" VALUES(39,5,'keep.features.0',4.35402522888895915365e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 0.6, "log": false}}');
INSERT INTO "trial_params" VALUES(40,5,'keep.features.3',5.2817257356920677136e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 0.6, "log": false}}');
INSERT INTO "trial_params" VALUES(41,5,'keep.features.7',2.13560739666054211216e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.2, "high": 0.3, "log": false}}');
INSERT INTO "trial_params" VALUES(42,5,'keep.features.10',2.02902068107145339137e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.2, "high": 0.3, "log": false}}');
INSERT INTO "trial_params" VALUES(43,5,'keep.features.14',1.13506137423405734088e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.15, "log": false}}');
INSERT INTO "trial_params" VALUES(44,5,'keep.features.17',1.15014485585990117177e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.15, "log": false}}');
INSERT INTO "trial_params" VALUES(45,5,'schedule.fade',2.10542391893739966324e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.1, "high": 0.8, "log": false}}');
INSERT INTO "trial_params" VALUES(46,5,'training.lr',3.46364491841003527272e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.003, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(47,5,'training.restarts',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "stages"]}}');
INSERT INTO "trial_params" VALUES(48,5,'stages.count',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 3}}');
INSERT INTO "trial_params" VALUES(49,5,'stages.order',3.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["forward", "backward", "sensitivity", "cost"]}}');
INSERT INTO "trial_params" VALUES(50,5,'blending.mode',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["convex", "probability", "uniform"]}}');
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
INSERT INTO "trial_system_attributes" VALUES(3,3,'artifacts:fe103bbc-9aa9-43b4-9568-77163821e6c3','"{\"artifact_id\": \"fe103bbc-9aa9-43b4-9568-77163821e6c3\", \"filename\": \"digits-trial-0.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(4,4,'artifacts:fff5e044-c703-4af4-9081-3d0a1dbba873','"{\"artifact_id\": \"fff5e044-c703-4af4-9081-3d0a1dbba873\", \"filename\": \"digits-trial-1.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(5,5,'artifacts:4ad73bd3-51fe-44ba-a6fa-2780b5d0641c','"{\"artifact_id\": \"4ad73bd3-51fe-44ba-a6fa-2780b5d0641c\", \"filename\": \"digits-trial-2.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(6,6,'artifacts:2dd31ea5-d715-4829-b61a-03aaaf927830','"{\"artifact_id\": \"2dd31ea5-d715-4829-b61a-03aaaf927830\", \"filename\": \"digits-refined-trial-0.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(7,7,'artifacts:2dd1fe50-89a8-4ba9-af30-b7cef15e306e','"{\"artifact_id\": \"2dd1fe50-89a8-4ba9-af30-b7cef15e306e\", \"filename\": \"digits-refined-trial-1.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(8,8,'artifacts:6d2eb745-0208-41c8-aa10-79791b36ec26','"{\"artifact_id\": \"6d2eb745-0208-41c8-aa10-79791b36ec26\", \"filename\": \"digits-refined-trial-2.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(9,9,'artifacts:20ed08d7-7311-4163-a61e-1913d6b96795','"{\"artifact_id\": \"20ed08d7-7311-4163-a61e-1913d6b96795\", \"filename\": \"digits-refined-trial-3.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
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
INSERT INTO "trial_user_attributes" VALUES(6,3,'network','"fe103bbc-9aa9-43b4-9568-77163821e6c3"');
INSERT INTO "trial_user_attributes" VALUES(7,3,'folding_error','3.2537391084446277e-16');
INSERT INTO "trial_user_attributes" VALUES(8,3,'compute','0.6007602186930487');
INSERT INTO "trial_user_attributes" VALUES(9,3,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "metric": 0.4027777777777778, "folded_metric": 0.1423611111111111}, {"number": 1, "compute": 0.6007602186930487, "alpha": 0.0, "metric": 0.1527777777777778, "folded_metric": 0.1527777777777778, "loss": 2.2244482040405273, "rate": 0.0008663443191078992}]');
INSERT INTO "trial_user_attributes" VALUES(10,3,'answers','{"examples": 288, "right": "ARBEEIQhAEICBAEIQBCAQQBEEQBBACQJAgDAIAADAMAwDAMA"}');
INSERT INTO "trial_user_attributes" VALUES(11,3,'metric','0.1527777777777778');
INSERT INTO "trial_user_attributes" VALUES(12,3,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(13,3,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(14,3,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(15,3,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(16,3,'latency','0.14826728563223565');
INSERT INTO "trial_user_attributes" VALUES(17,3,'latency_share','0.9739398467432964');
INSERT INTO "trial_user_attributes" VALUES(18,3,'latency_spread','0.9570773807273095');
INSERT INTO "trial_user_attributes" VALUES(19,3,'latency_unsure','true');
INSERT INTO "trial_user_attributes" VALUES(20,3,'latency_threads','1');
INSERT INTO "trial_user_attributes" VALUES(21,3,'latency_batch','1');
INSERT INTO "trial_user_attributes" VALUES(22,4,'recipe','{"shape": "linear", "parameters": {}, "fade": 0.34268586683903496, "widths": {"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}, "training": {"lr": 0.01851905956142624, "rates": "one-cycle", "restarts": "none", "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}, "stages": {"count": 2, "order": "cost", "sequence": ["features.14", "features.7", "features.10", "features.17", "features.0", "features.3"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "method": "least-squares", "channels": "greedy", "blending": "convex", "zero_loss": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(23,4,'seed','1');
INSERT INTO "trial_user_attributes" VALUES(24,4,'versions','{"python": "3.11.7", "branchfold": "0.1.0", "torch": "2.14.1", "pytorch-lightning": "2.6.6", "optuna": "5.0.0"}');
INSERT INTO "trial_user_attributes" VALUES(25,4,'network','"fff5e044-c703-4af4-9081-3d0a1dbba873"');
INSERT INTO "trial_user_attributes" VALUES(26,4,'folding_error','8.814242966615166e-16');
INSERT INTO "trial_user_attributes" VALUES(27,4,'compute','0.34588909138245255');
INSERT INTO "trial_user_attributes" VALUES(28,4,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "metric": 0.4027777777777778, "folded_metric": 0.1423611111111111}, {"number": 1, "compute": 0.34588909138245255, "alpha": 0.0, "metric": 0.1701388888888889, "folded_metric": 0.1701388888888889, "loss": 2.2219467163085938, "rate": 0.00032087764092524887}]');
INSERT INTO "trial_user_attributes" VALUES(29,4,'answers','{"examples": 288, "right": "AYRhGAYRBAEIBBGAYQgAAQRgGAABgAAYBgGAIBBAIIggGAYB"}');
INSERT INTO "trial_user_attributes" VALUES(30,4,'metric','0.1701388888888889');
INSERT INTO "trial_user_attributes" VALUES(31,4,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(32,4,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(33,4,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(34,4,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(35,4,'latency','0.1498339997851872');
INSERT INTO "trial_user_attributes" VALUES(36,4,'latency_share','0.9736590878240005');
INSERT INTO "trial_user_attributes" VALUES(37,4,'latency_spread','0.19996953019633035');
INSERT INTO "trial_user_attributes" VALUES(38,4,'latency_unsure','true');
INSERT INTO "trial_user_attributes" VALUES(39,4,'latency_threads','1');
INSERT INTO "trial_user_attributes" VALUES(40,4,'latency_batch','1');
INSERT INTO "trial_user_attributes" VALUES(41,5,'recipe','{"shape": "linear", "parameters": {}, "fade": 0.21054239189373997, "widths": {"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}, "training": {"lr": 0.03463644918410035, "rates": "one-cycle", "restarts": "stages", "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}, "stages": {"count": 2, "order": "cost", "sequence": ["features.14", "features.7", "features.10", "features.17", "features.0", "features.3"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "method": "least-squares", "channels": "greedy", "blending": "probability", "zero_loss": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(42,5,'seed','2');
INSERT INTO "trial_user_attributes" VALUES(43,5,'versions','{"python": "3.11.7", "branchfold": "0.1.0", "torch": "2.14.1", "pytorch-lightning": "2.6.6", "optuna": "5.0.0"}');
INSERT INTO "trial_user_attributes" VALUES(44,5,'network','"4ad73bd3-51fe-44ba-a6fa-2780b5d0641c"');
INSERT INTO "trial_user_attributes" VALUES(45,5,'folding_error','1.3527595407144244e-15');
INSERT INTO "trial_user_attributes" VALUES(46,5,'compute','0.27638635771934394');
INSERT INTO "trial_user_attributes" VALUES(47,5,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "metric": 0.4027777777777778, "folded_metric": 0.1423611111111111}, {"number": 1, "compute": 0.27638635771934394, "alpha": 0.0, "metric": 0.1527777777777778, "folded_metric": 0.1527777777777778, "loss": 2.251067638397217, "rate": 0.000959470436695726}]');
INSERT INTO "trial_user_attributes" VALUES(48,5,'answers','{"examples": 288, "right": "AYBgGAYhAEAKBAGAYBgAAQBgGAABgCAYBgGAIBADAIAAGAYB"}');
INSERT INTO "trial_user_attributes" VALUES(49,5,'metric','0.1527777777777778');
INSERT INTO "trial_user_attributes" VALUES(50,5,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(51,5,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(52,5,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(53,5,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(54,5,'latency','0.14916007135720324');
INSERT INTO "trial_user_attributes" VALUES(55,5,'latency_share','0.9749469183589292');
INSERT INTO "trial_user_attributes" VALUES(56,5,'latency_spread','0.9187313581851523');
INSERT INTO "trial_user_attributes" VALUES(57,5,'latency_unsure','true');
INSERT INTO "trial_user_attributes" VALUES(58,5,'latency_threads','1');
INSERT INTO "trial_user_attributes" VALUES(59,5,'latency_batch','1');
INSERT INTO "trial_user_attributes" VALUES(60,6,'recipe','{"shape": "linear", "parameters": {}, "fade": 0.34268586683903496, "widths": {"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}, "training": {"lr": 0.01851905956142624, "rates": "one-cycle", "restarts": "none", "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}, "stages": {"count": 2, "order": "cost", "sequence": ["features.14", "features.7", "features.10", "features.17", "features.0", "features.3"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "method": "least-squares", "channels": "greedy", "blending": "convex", "zero_loss": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(61,6,'seed','1000000');
INSERT INTO "trial_user_attributes" VALUES(62,6,'versions','{"python": "3.11.7", "branchfold": "0.1.0", "torch": "2.14.1", "pytorch-lightning": "2.6.6", "optuna": "5.0.0"}');
INSERT INTO "trial_user_attributes" VALUES(63,6,'refines','1');
INSERT INTO "trial_user_attributes" VALUES(64,6,'length','{"epochs": 1}');
INSERT INTO "trial_user_attributes" VALUES(65,6,'network','"2dd31ea5-d715-4829-b61a-03aaaf927830"');
INSERT INTO "trial_user_attributes" VALUES(66,6,'folding_error','8.803167385576801e-16');
INSERT INTO "trial_user_attributes" VALUES(67,6,'compute','0.34588909138245255');
INSERT INTO "trial_user_attributes" VALUES(68,6,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "metric": 0.4027777777777778, "folded_metric": 0.1423611111111111}, {"number": 1, "compute": 0.34588909138245255, "alpha": 0.0, "metric": 0.1909722222222222, "folded_metric": 0.1909722222222222, "loss": 2.207209587097168, "rate": 0.00032087764092524887}]');
INSERT INTO "trial_user_attributes" VALUES(69,6,'answers','{"examples": 288, "right": "AYRhGAYRACEIBhGAYAhEAQRgGAABhAAYRhEEIBBAIIggEIYh"}');
INSERT INTO "trial_user_attributes" VALUES(70,6,'metric','0.1909722222222222');
INSERT INTO "trial_user_attributes" VALUES(71,6,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(72,6,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(73,6,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(74,6,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(75,6,'latency','0.14891735736455303');
INSERT INTO "trial_user_attributes" VALUES(76,6,'latency_share','0.9784490723844059');
INSERT INTO "trial_user_attributes" VALUES(77,6,'latency_spread','8.211178770261284');
INSERT INTO "trial_user_attributes" VALUES(78,6,'latency_unsure','true');
INSERT INTO "trial_user_attributes" VALUES(79,6,'latency_threads','1');
INSERT INTO "trial_user_attributes" VALUES(80,6,'latency_batch','1');
INSERT INTO "trial_user_attributes" VALUES(81,7,'recipe','{"shape": "linear", "parameters": {}, "fade": 0.34268586683903496, "widths": {"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}, "training": {"lr": 0.01851905956142624, "rates": "one-cycle", "restarts": "none", "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}, "stages": {"count": 2, "order": "cost", "sequence": ["features.14", "features.7", "features.10", "features.17", "features.0", "features.3"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "method": "least-squares", "channels": "greedy", "blending": "convex", "zero_loss": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(82,7,'seed','1000001');
INSERT INTO "trial_user_attributes" VALUES(83,7,'versions','{"python": "3.11.7", "branchfold": "0.1.0", "torch": "2.14.1", "pytorch-lightning": "2.6.6", "optuna": "5.0.0"}');
INSERT INTO "trial_user_attributes" VALUES(84,7,'refines','1');
INSERT INTO "trial_user_attributes" VALUES(85,7,'length','{"epochs": 1}');
INSERT INTO "trial_user_attributes" VALUES(86,7,'network','"2dd1fe50-89a8-4ba9-af30-b7cef15e306e"');
INSERT INTO "trial_user_attributes" VALUES(87,7,'folding_error','1.147720934068997e-15');
INSERT INTO "trial_user_attributes" VALUES(88,7,'compute','0.34588909138245255');
INSERT INTO "trial_user_attributes" VALUES(89,7,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "metric": 0.4027777777777778, "folded_metric": 0.1423611111111111}, {"number": 1, "compute": 0.34588909138245255, "alpha": 0.0, "metric": 0.17708333333333334, "folded_metric": 0.17708333333333334, "loss": 2.2161917686462402, "rate": 0.00032087764092524887}]');
INSERT INTO "trial_user_attributes" VALUES(90,7,'answers','{"examples": 288, "right": "AYBhGAYBAGAKBgGAYRhAAQBgGAABgEAYRgGAIBACIIAgGIYB"}');
INSERT INTO "trial_user_attributes" VALUES(91,7,'metric','0.17708333333333334');
INSERT INTO "trial_user_attributes" VALUES(92,7,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(93,7,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(94,7,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(95,7,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(96,7,'latency','0.14779657119236486');
INSERT INTO "trial_user_attributes" VALUES(97,7,'latency_share','0.9702770609482088');
INSERT INTO "trial_user_attributes" VALUES(98,7,'latency_spread','4.644629674065136');
INSERT INTO "trial_user_attributes" VALUES(99,7,'latency_unsure','true');
INSERT INTO "trial_user_attributes" VALUES(100,7,'latency_threads','1');
INSERT INTO "trial_user_attributes" VALUES(101,7,'latency_batch','1');
INSERT INTO "trial_user_attributes" VALUES(102,8,'recipe','{"shape": "linear", "parameters": {}, "fade": 0.5, "widths": {"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}, "training": {"lr": 0.05, "rates": "one-cycle", "restarts": "none", "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}, "stages": {"count": 1, "order": "forward", "sequence": ["features.0", "features.3", "features.7", "features.10", "features.14", "features.17"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "method": "least-squares", "channels": "greedy", "blending": "probability", "zero_loss": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(103,8,'seed','1000000');
INSERT INTO "trial_user_attributes" VALUES(104,8,'versions','{"python": "3.11.7", "branchfold": "0.1.0", "torch": "2.14.1", "pytorch-lightning": "2.6.6", "optuna": "5.0.0"}');
INSERT INTO "trial_user_attributes" VALUES(105,8,'refines','0');
INSERT INTO "trial_user_attributes" VALUES(106,8,'length','{"epochs": 1}');
INSERT INTO "trial_user_attributes" VALUES(107,8,'network','"6d2eb745-0208-41c8-aa10-79791b36ec26"');
INSERT INTO "trial_user_attributes" VALUES(108,8,'folding_error','6.329314041844106e-16');
INSERT INTO "trial_user_attributes" VALUES(109,8,'compute','0.6007602186930487');
INSERT INTO "trial_user_attributes" VALUES(110,8,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "metric": 0.4027777777777778, "folded_metric": 0.1423611111111111}, {"number": 1, "compute": 0.6007602186930487, "alpha": 0.0, "metric": 0.1909722222222222, "folded_metric": 0.1909722222222222, "loss": 2.2135064601898193, "rate": 0.0008663443191078992}]');
INSERT INTO "trial_user_attributes" VALUES(111,8,'answers','{"examples": 288, "right": "CYJgGAYBAEAIBAmEYhgAAQJgGEABgGAYBgGCIJAHAIAgGEYB"}');
INSERT INTO "trial_user_attributes" VALUES(112,8,'metric','0.1909722222222222');
INSERT INTO "trial_user_attributes" VALUES(113,8,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(114,8,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(115,8,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(116,8,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(117,8,'latency','0.14780664293669232');
INSERT INTO "trial_user_attributes" VALUES(118,8,'latency_share','0.9737470979138151');
INSERT INTO "trial_user_attributes" VALUES(119,8,'latency_spread','2.284131977689472');
INSERT INTO "trial_user_attributes" VALUES(120,8,'latency_unsure','true');
INSERT INTO "trial_user_attributes" VALUES(121,8,'latency_threads','1');
INSERT INTO "trial_user_attributes" VALUES(122,8,'latency_batch','1');
INSERT INTO "trial_user_attributes" VALUES(123,9,'recipe','{"shape": "linear", "parameters": {}, "fade": 0.5, "widths": {"features.0": 1, "features.3": 1, "features.7": 1, "features.10": 1, "features.14": 1, "features.17": 1}, "training": {"lr": 0.05, "rates": "one-cycle", "restarts": "none", "weight_decay": 0.0005, "train_original": true, "distillation": 0.0, "distillation_loss": "divergence", "temperature": 2.0, "label_smoothing": 0.0, "clip": 0.0, "precision": "float32", "augment": true}, "stages": {"count": 1, "order": "forward", "sequence": ["features.0", "features.3", "features.7", "features.10", "features.14", "features.17"], "overlap": 0.0, "windows": "shared", "hold": 0.0}, "method": "least-squares", "channels": "greedy", "blending": "probability", "zero_loss": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(124,9,'seed','1000001');
INSERT INTO "trial_user_attributes" VALUES(125,9,'versions','{"python": "3.11.7", "branchfold": "0.1.0", "torch": "2.14.1", "pytorch-lightning": "2.6.6", "optuna": "5.0.0"}');
INSERT INTO "trial_user_attributes" VALUES(126,9,'refines','0');
INSERT INTO "trial_user_attributes" VALUES(127,9,'length','{"epochs": 1}');
INSERT INTO "trial_user_attributes" VALUES(128,9,'network','"20ed08d7-7311-4163-a61e-1913d6b96795"');
INSERT INTO "trial_user_attributes" VALUES(129,9,'folding_error','6.331298410036053e-16');
INSERT INTO "trial_user_attributes" VALUES(130,9,'compute','0.6007602186930487');
INSERT INTO "trial_user_attributes" VALUES(131,9,'history','[{"number": 0, "compute": 0.0, "alpha": 1.0, "metric": 0.4027777777777778, "folded_metric": 0.1423611111111111}, {"number": 1, "compute": 0.6007602186930487, "alpha": 0.0, "metric": 0.10069444444444445, "folded_metric": 0.10069444444444445, "loss": 2.220308303833008, "rate": 0.0008663443191078992}]');
INSERT INTO "trial_user_attributes" VALUES(132,9,'answers','{"examples": 288, "right": "AIIgCAIAAACIIAiCIAggAAAgCAAAgAAQBAkAAJAgAAQBEEQA"}');
INSERT INTO "trial_user_attributes" VALUES(133,9,'metric','0.10069444444444445');
INSERT INTO "trial_user_attributes" VALUES(134,9,'macs','1552');
INSERT INTO "trial_user_attributes" VALUES(135,9,'macs_share','0.14520958083832336');
INSERT INTO "trial_user_attributes" VALUES(136,9,'parameters','116');
INSERT INTO "trial_user_attributes" VALUES(137,9,'parameters_share','0.07631578947368421');
INSERT INTO "trial_user_attributes" VALUES(138,9,'latency','0.14577692854800262');
INSERT INTO "trial_user_attributes" VALUES(139,9,'latency_share','0.962006961769287');
INSERT INTO "trial_user_attributes" VALUES(140,9,'latency_spread','3.2859609807672525');
INSERT INTO "trial_user_attributes" VALUES(141,9,'latency_unsure','true');
INSERT INTO "trial_user_attributes" VALUES(142,9,'latency_threads','1');
INSERT INTO "trial_user_attributes" VALUES(143,9,'latency_batch','1');
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
INSERT INTO "trial_values" VALUES(1,1,0,2.26601958274841308593e+00,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,2.26601958274841308593e+00,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,1.52777777777777790113e-01,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,1.70138888888888895056e-01,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,1.52777777777777790113e-01,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,1.90972222222222209886e-01,'FINITE');
INSERT INTO "trial_values" VALUES(7,7,0,1.77083333333333342585e-01,'FINITE');
INSERT INTO "trial_values" VALUES(8,8,0,1.90972222222222209886e-01,'FINITE');
INSERT INTO "trial_values" VALUES(9,9,0,1.00694444444444447528e-01,'FINITE');
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
INSERT INTO "trials" VALUES(1,0,2,'COMPLETE','2026-11-24 14:32:02.862706','2026-11-24 14:32:03.125446');
INSERT INTO "trials" VALUES(2,1,2,'COMPLETE','2026-11-24 14:32:03.161628','2026-11-24 14:32:03.222603');
INSERT INTO "trials" VALUES(3,0,1,'COMPLETE','2026-11-24 14:32:03.306186','2026-11-24 14:32:05.205404');
INSERT INTO "trials" VALUES(4,1,1,'COMPLETE','2026-11-24 14:32:05.245299','2026-11-24 14:32:07.360476');
INSERT INTO "trials" VALUES(5,2,1,'COMPLETE','2026-11-24 14:32:07.392254','2026-11-24 14:32:09.581132');
INSERT INTO "trials" VALUES(6,0,3,'COMPLETE','2026-11-24 14:32:09.728028','2026-11-24 14:32:11.825169');
INSERT INTO "trials" VALUES(7,1,3,'COMPLETE','2026-11-24 14:32:11.853953','2026-11-24 14:32:14.808601');
INSERT INTO "trials" VALUES(8,2,3,'COMPLETE','2026-11-24 14:32:14.837019','2026-11-24 14:32:16.580837');
INSERT INTO "trials" VALUES(9,3,3,'COMPLETE','2026-11-24 14:32:16.605574','2026-11-24 14:32:18.268087');
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
